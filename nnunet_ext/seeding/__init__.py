"""Runs that repeat: seeds, loaders, workers."""
