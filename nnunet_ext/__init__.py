"""nnunet_ext: trainers, planners and network architectures that plug into an unmodified nnU-Net v2."""

__version__ = "0.1.0"
