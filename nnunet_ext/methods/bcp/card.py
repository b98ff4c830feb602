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
            "share of the training in which labelled patches are pasted into each other; the authors use 0.12; use "
            "0.5 in short trainings, so that the teacher is trained before it labels",
            number(0, below=1),
            "a number >= 0 and < 1",
        ),
        Knob(
            "pseudo_label_weight",
            0.5,
            "weight of the pseudo-labelled parts, from the first step after the warm-up; labelled parts have weight "
            "1; the authors use 0.5",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "box",
            2 / 3,
            "size of the pasted box along each axis, as a share of the patch size",
            number(0, exclusive=True, below=1),
            "a number > 0 and < 1",
        ),
        Knob(
            "largest_component",
            False,
            "keep only the largest connected component of each class in the teacher's labels, as the authors do; only "
            "for organs that form a single component",
            one_of(True, False),
            "true or false",
        ),
    ),
)
