"""One network for many tasks with a set of heads for each: the control for UniSeg's prompt."""
