"""Pseudo-labels: train, predict the unlabelled images, retrain on both."""
