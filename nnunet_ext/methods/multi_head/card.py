"""The card of the control for UniSeg."""

from nnunet_ext.base.method import Method

CARD = Method(
    key="multi_head",
    title="Multi-head",
    summary="One network for a collection of datasets with a set of heads for each: the control for UniSeg's prompt",
    papers=(
        "Ulrich et al., MultiTalent: a multi-dataset approach to medical image segmentation, MICCAI 2023, "
        "https://arxiv.org/abs/2303.14444",
    ),
    trainers=("MultiHeadTrainer",),
    supports=("3d_fullres", "collections", "regions", "ignore label"),
)
