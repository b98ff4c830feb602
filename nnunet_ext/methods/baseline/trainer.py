"""The control: stock nnU-Net with our knobs."""

from nnunet_ext.base.trainer import ExtTrainer


class NNUNetBaselineTrainer(ExtTrainer):
    """Stock network, loss and schedule, plus the plans' knobs, so that a method and its control differ in the method.

    [0] Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation,
    Nature Methods 2021, https://doi.org/10.1038/s41592-020-01008-z
    """
