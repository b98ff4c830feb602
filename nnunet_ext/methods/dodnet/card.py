"""The card of DoDNet."""

from nnunet_ext.base.method import Knob, Method, integer, one_of

CARD = Method(
    key="dodnet",
    title="DoDNet",
    summary="One network for a collection of datasets, whose last layers are made for each image and task",
    papers=(
        "Zhang et al., DoDNet: learning to segment multi-organ and tumors from multiple partially labeled datasets, "
        "CVPR 2021, https://arxiv.org/abs/2011.10217",
    ),
    trainers=("DoDNetTrainer",),
    planners=("DoDNetPlanner", "DoDNetResEncMPlanner", "DoDNetResEncLPlanner"),
    supports=("3d_fullres", "collections", "regions", "ignore label"),
    knobs=(
        Knob(
            "head_width",
            8,
            "channels of the dynamic head and of the features that it receives; the authors use 8",
            integer(1),
            "an integer >= 1",
        ),
        Knob("head_depth", 3, "layers of the dynamic head; the authors use 3", integer(1), "an integer >= 1"),
        Knob(
            "deep_supervision",
            True,
            "train the lower scales of the decoder, too, with the same kernels; the authors do not",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "condition",
            "pooled",
            "image features that the controller receives: pooled, the spatial mean of the bottleneck, or pre_norm, "
            "the mean before the bottleneck's last normalization, which did not train in our only test",
            one_of("pooled", "pre_norm"),
            "'pooled' or 'pre_norm'",
        ),
    ),
)
