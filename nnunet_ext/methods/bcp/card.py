"""The card of BCP."""

from nnunet_ext.base.method import Knob, Method, number, one_of

CARD = Method(
    key="bcp",
    title="BCP",
    summary="Semi-supervised: labelled and unlabelled images pasted into each other; a teacher labels the latter",
    papers=(
        "Bai et al., Bidirectional copy-paste for semi-supervised medical image segmentation, CVPR 2023, "
        "https://arxiv.org/abs/2305.00673",
    ),
    trainers=("BCPTrainer",),
    supports=("2d", "3d_fullres", "3d_lowres", "regions", "ignore label", "unlabelled images"),
    knobs=(
        Knob(
            "warm_up",
            0.12,
            "share of the training in which labelled images are pasted into each other; the authors use 0.12",
            number(0, below=1),
            "a number >= 0 and < 1",
        ),
        Knob(
            "pseudo_label_weight",
            0.5,
            "weight of the unlabelled parts; labelled ones have 1",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "box",
            2 / 3,
            "share of the patch that the box has along each axis",
            number(0, exclusive=True, below=1),
            "a number > 0 and < 1",
        ),
        Knob(
            "largest_component",
            False,
            "keep only the largest component of each class the teacher finds, as the authors do: for one-piece organs",
            one_of(True, False),
            "true or false",
        ),
    ),
)
