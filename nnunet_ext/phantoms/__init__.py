"""Synthetic datasets for demos and tests."""
