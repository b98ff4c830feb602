"""Somebody's trained model: what is read of it, and the copy that a training starts from."""
