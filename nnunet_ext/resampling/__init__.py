"""Resampling of images, label maps and logits: nnU-Net's results, in a fraction of its time and memory."""
