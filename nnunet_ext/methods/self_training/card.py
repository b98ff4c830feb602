"""The card of self-training."""

from typing import Any

from nnunet_ext.base.method import Knob, Method, integer, number, one_of

_share_below_one = number(0, below=1)


def is_share(value: Any) -> bool:
    """Whether it is a number > 0 and <= 1."""
    return number(0, exclusive=True)(value) and bool(value <= 1)


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_share, value)) and value[0] <= value[1]


CARD = Method(
    key="self_training",
    title="Self-training",
    summary="Semi-supervised: rounds of pseudo-labels of the stable cases, mixed with labelled images",
    papers=(
        "Yang et al., ST++: make self-training work better for semi-supervised semantic segmentation, CVPR 2022, "
        "https://arxiv.org/abs/2106.05095",
        "Bai et al., Bidirectional copy-paste for semi-supervised medical image segmentation, CVPR 2023, "
        "https://arxiv.org/abs/2305.00673",
        "Lee, Pseudo-label, ICML workshop on challenges in representation learning, 2013",
    ),
    trainers=("SelfTrainingTrainer",),
    supports=("2d", "3d_fullres", "3d_lowres", "regions", "ignore label", "unlabelled images"),
    knobs=(
        Knob(
            "supervised_share",
            0.55,
            "share of the epochs that train on the labelled cases alone, before the unlabelled cases are predicted",
            number(0, exclusive=True, below=1),
            "a number > 0 and < 1",
        ),
        Knob(
            "rounds",
            2,
            "how often the unlabelled cases are predicted and then trained on; the rounds share the epochs that are "
            "left; 0: stock nnU-Net, as a control",
            integer(0),
            "an integer >= 0",
        ),
        Knob(
            "pseudo_label_weight",
            1.0,
            "weight of pseudo-labelled samples in the mean loss of a batch; labelled samples have weight 1",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "mirroring",
            True,
            "pseudo-labels are predicted with mirroring, as nnU-Net predicts; false: up to eight times faster",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "confidence",
            0.0,
            "voxels of pseudo-labels that the network gives less than this probability are ignored; 0: none are",
            number(0, below=1),
            "a number >= 0 and < 1",
        ),
        Knob(
            "selection",
            [0.6, 0.8, 0.9],
            "share of the unlabelled cases that each round trains on, those whose prediction changed least since the "
            "one before; the last share also holds for further rounds; []: all cases",
            lambda value: isinstance(value, list) and all(map(is_share, value)),
            "a list of numbers > 0 and <= 1",
        ),
        Knob(
            "mixing_share",
            0.5,
            "share of the steps in which a box of the pseudo-labelled patch is pasted into the labelled one and back, "
            "images and labels alike",
            lambda value: value == 1 or _share_below_one(value),
            "a number from 0 to 1",
        ),
        Knob(
            "mixing_box",
            [0.3, 0.67],
            "smallest and largest size of the box along an axis, as shares of the patch size",
            _is_range,
            "two numbers > 0 and <= 1, the smaller one first",
        ),
        Knob(
            "fine_tune_share",
            0.0,
            "share of the epochs that train on the labelled cases alone at the end, after the last round",
            number(0, below=1),
            "a number >= 0 and < 1",
        ),
        Knob(
            "fine_tune_rate",
            0.1,
            "learning rate of that last part, as a share of the initial one",
            number(0, exclusive=True),
            "a number > 0",
        ),
    ),
)
