"""Training on the label maps of several raters."""
