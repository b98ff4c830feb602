"""BA-Net: a second decoder finds boundaries and gates the segmentation decoder."""
