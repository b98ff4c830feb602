"""Simulated shifts of images, as another scanner would make them, and what they cost a model."""
