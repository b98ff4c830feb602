"""Checkpoints of nnssl: networks that were pre-trained without labels."""
