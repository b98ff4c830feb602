"""Datasets whose images are all unlabelled: nnU-Net's fingerprint and plans of them, and what validates."""
