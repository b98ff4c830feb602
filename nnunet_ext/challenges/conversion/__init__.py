"""The data of challenges as raw nnU-Net datasets, with the way back to the challenge's own structures."""
