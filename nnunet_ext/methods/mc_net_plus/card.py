"""The card of MC-Net+."""

from nnunet_ext.base.method import Knob, Method, number, one_of, optional

CARD = Method(
    key="mc_net_plus",
    title="MC-Net+",
    summary="Semi-supervised: three decoders, each trained to agree with the sharpened output of the others",
    papers=(
        "Wu et al., Mutual consistency learning for semi-supervised medical image segmentation, Medical Image "
        "Analysis 2022, https://doi.org/10.1016/j.media.2022.102530",
    ),
    trainers=("MCNetPlusTrainer",),
    planners=("MCNetPlusPlanner", "MCNetPlusResEncMPlanner", "MCNetPlusResEncLPlanner"),
    supports=("2d", "3d_fullres", "3d_lowres", "regions", "ignore label", "unlabelled images"),
    knobs=(
        Knob(
            "supervised_weight",
            0.5,
            "weight of the sum of the three decoders' supervised losses; the authors use 0.5 in 3d and 1 in 2d",
            number(0, exclusive=True),
            "a number > 0",
        ),
        Knob(
            "consistency_weight",
            1.0,
            "weight of the consistency loss after its ramp (unlabelled.ramp); the authors use 1 in 3d and 0.1 in 2d",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "temperature",
            0.1,
            "temperature of the sharpening: the lower, the sharper the targets; the authors use 0.1",
            number(0, exclusive=True),
            "a number > 0",
        ),
        Knob(
            "dropout",
            None,
            "share of channels dropped at the bottleneck and before each head, in training only; null: 0.5 (the "
            "authors), or 0 in networks with fewer than 16 features at full resolution",
            optional(number(0, below=1)),
            "a number >= 0 and < 1, or null",
        ),
        Knob(
            "detach",
            True,
            "no gradient flows through the sharpened outputs, so they are fixed targets; in the authors' code it does",
            one_of(True, False),
            "true or false",
        ),
    ),
)
