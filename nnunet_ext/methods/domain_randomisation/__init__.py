"""Domain randomisation: training images or features look as if they came from other scanners."""
