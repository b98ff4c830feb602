"""The card of trainings on several raters."""

from nnunet_ext.base.method import Knob, Method, one_of, optional

MODES = ("random", "soft", "agreement", "heads", "padl", "majority")
WITH_HEADS = ("heads", "padl")  # one opinion for each rater; raters must be persons

CARD = Method(
    key="raters",
    title="Several raters",
    summary="Trains on the label maps of several raters of an image; on request predicts what each of them would draw",
    papers=(
        "Liao et al., Modeling annotator preference and stochastic annotation error for medical image segmentation, "
        "Medical Image Analysis 2024, https://arxiv.org/abs/2111.13410 (mode padl)",
    ),
    trainers=("RatersTrainer",),
    supports=("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres", "regions", "ignore label"),
    knobs=(
        Knob(
            "mode",
            "random",
            "random: a rater is drawn for each sample and step; soft: the mean of the raters is the target; agreement: "
            "voxels on which the raters disagree are ignored; heads: a segmentation head for each rater and one for "
            "their consensus; padl: the heads of PADL; majority: stock nnU-Net on labelsTr",
            one_of(*MODES),
            f"one of {', '.join(MODES)}",
        ),
        Knob(
            "predict",
            None,
            "in the plans of a rater's view: the rater whose opinion is predicted; null: the consensus",
            optional(lambda value: isinstance(value, str) and value != ""),
            "a rater's name, or null",
        ),
    ),
)
