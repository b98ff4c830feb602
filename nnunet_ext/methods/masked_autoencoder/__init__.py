"""Masked autoencoder: pre-training without labels, in which the plans' own U-Net restores hidden blocks of images."""
