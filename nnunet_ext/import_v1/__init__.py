"""Trained models of nnU-Net v1 as models of v2."""
