"""One network's weights in another one: what each tensor takes, and why."""
