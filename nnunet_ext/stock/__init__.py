"""nnU-Net as it is installed: its folders, commands, trainers and trained models."""
