"""Datasets on disk, as nnU-Net stores them."""
