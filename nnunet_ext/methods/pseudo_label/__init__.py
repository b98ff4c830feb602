"""Pseudo-labels: train, predict the unlabelled images, train anew on both."""
