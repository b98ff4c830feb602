"""The card of Mean Teacher."""

from nnunet_ext.base.method import Knob, Method, number, one_of

CARD = Method(
    key="mean_teacher",
    title="Mean Teacher",
    summary="On unlabelled images the network agrees with a teacher, the moving average of itself, which sees noise",
    papers=(
        "Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017, https://arxiv.org/abs/1703.01780",
        "Yu et al., Uncertainty-aware self-ensembling model, MICCAI 2019, https://arxiv.org/abs/1907.07034",
    ),
    trainers=("MeanTeacherTrainer",),
    supports=("2d", "3d_fullres", "3d_lowres", "regions", "ignore label", "unlabelled images"),
    knobs=(
        Knob(
            "consistency_weight",
            0.1,
            "weight of the consistency loss (the difference from the teacher) after its ramp (unlabelled.ramp)",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "noise",
            0.1,
            "standard deviation of the noise on the teacher's images, clipped at twice that, for images with unit "
            "variance; only with views=same",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "views",
            "same",
            "same: teacher and student see the same augmented patch; weak_strong: the teacher's patch has only "
            "nnU-Net's spatial augmentation, the student's also the intensity augmentation",
            one_of("same", "weak_strong"),
            "'same' or 'weak_strong'",
        ),
    ),
)
