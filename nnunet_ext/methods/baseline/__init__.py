"""Stock nnU-Net as the control that every method is measured against, and CPU-sized plans."""
