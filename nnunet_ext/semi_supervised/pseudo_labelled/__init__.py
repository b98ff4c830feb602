"""Trainings in parts: on labelled images, then on pseudo-labels too."""
