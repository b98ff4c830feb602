"""Figures and tables from nnU-Net's own evaluation and log."""
