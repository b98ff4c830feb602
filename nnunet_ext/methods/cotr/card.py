"""The card of CoTr."""

from nnunet_ext.base.method import Knob, Method, integer, optional

CARD = Method(
    key="cotr",
    title="CoTr",
    summary="A deformable transformer works on the encoder's coarsest features before they are decoded",
    papers=(
        "Xie et al., CoTr: efficiently bridging CNN and transformer for 3D medical image segmentation, MICCAI 2021, "
        "https://arxiv.org/abs/2103.03024",
    ),
    trainers=("CoTrTrainer",),
    planners=("CoTrPlanner", "CoTrResEncMPlanner", "CoTrResEncLPlanner"),
    supports=("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres", "regions", "ignore label"),
    knobs=(
        Knob(
            "levels",
            2,
            "number of coarsest levels that the transformer processes, never full resolution; the authors use 2, and "
            "planners count 2: plan for less memory if you use more",
            integer(1),
            "an integer >= 1",
        ),
        Knob(
            "width",
            None,
            "channels of the transformer; null: those of the bottleneck, rounded up to 16 per head (nnU-Net's 320 "
            "gives 384, the authors' value)",
            optional(integer(1)),
            "an integer >= 1 that the heads divide, or null",
        ),
        Knob(
            "layers",
            6,
            "number of transformer layers; the authors use 6; without a GPU, 2 reduce the transformer's time to a "
            "third",
            integer(1),
            "an integer >= 1",
        ),
        Knob("heads", 6, "attention heads in each transformer layer; the authors use 6", integer(1), "an integer >= 1"),
        Knob(
            "points",
            4,
            "points that each attention head samples per level; the authors use 4",
            integer(1),
            "an integer >= 1",
        ),
        Knob(
            "dropout",
            0.1,
            "dropout rate in the transformer; the authors use 0.1",
            lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1,
            "a number >= 0 and < 1",
        ),
    ),
)
