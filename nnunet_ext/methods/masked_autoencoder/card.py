"""The card of the masked autoencoder."""

from nnunet_ext.base.method import Knob, Method, number, one_of

CARD = Method(
    key="masked_autoencoder",
    title="Masked autoencoder",
    summary="Pre-training without labels: the network restores hidden blocks of unlabelled images; its weights then "
    "start a segmentation (knob init_from)",
    papers=(
        "He et al., Masked autoencoders are scalable vision learners, CVPR 2022, https://arxiv.org/abs/2111.06377",
        "Wald et al., Revisiting MAE pre-training for 3D medical image segmentation, CVPR 2025, "
        "https://arxiv.org/abs/2410.23132",
    ),
    trainers=("MaskedAutoencoderTrainer",),
    supports=("2d", "3d_fullres", "3d_lowres", "regions", "ignore label"),
    knobs=(
        Knob(
            "ratio",
            0.75,
            "share of the blocks of a patch that are hidden; at least one is hidden and one visible",
            number(0, exclusive=True, below=1),
            "a number > 0 and < 1",
        ),
        Knob(
            "block_mm",
            16.0,
            "edge of a block in mm, rounded to whole voxels along each axis, at least one and at most a quarter of the "
            "patch",
            number(0, exclusive=True),
            "a number > 0",
        ),
        Knob(
            "per_channel",
            False,
            "each channel has hidden blocks of its own; false: the same blocks are hidden in all channels, so that "
            "none can be copied from another",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "exclude_padding",
            True,
            "hidden voxels outside the image do not count: padding, and what nnU-Net's cropping found empty",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "labelled_images",
            True,
            "the images of the fold's training cases are trained on, beside those without labels; their labels are "
            "never looked at",
            one_of(True, False),
            "true or false",
        ),
    ),
)
