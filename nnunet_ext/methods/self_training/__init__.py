"""Self-training: rounds of pseudo-labels that go on, keep stable cases and paste images into each other."""
