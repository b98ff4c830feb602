"""The card of the control."""

from nnunet_ext.base.method import Method

CARD = Method(
    key="baseline",
    title="nnU-Net",
    summary="Stock nnU-Net with the plans' knobs: the control for every method",
    papers=("Isensee et al., Nature Methods 2021, https://doi.org/10.1038/s41592-020-01008-z",),
    trainers=("NNUNetBaselineTrainer",),
    planners=("LitePlanner",),
    supports=("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres", "regions", "ignore label"),
)
