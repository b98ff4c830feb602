"""Figures and tables of what nnU-Net's own evaluation and log hold."""
