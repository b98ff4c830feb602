"""nnU-Net's prediction and ours, compared: labels, time and memory."""
