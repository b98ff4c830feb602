"""The card of BA-Net."""

from nnunet_ext.base.method import Knob, Method, number, one_of

CARD = Method(
    key="ba_net",
    title="BA-Net",
    summary="A second decoder finds the boundaries of all classes and gates the segmentation decoder",
    papers=(
        "Hu et al., Boundary-aware network for kidney tumor segmentation, MLMI 2020",
        "Hu et al., Boundary-aware network for kidney parsing, KiPA22 challenge, MICCAI 2022",
        "Hu et al., Boundary-aware network for abdominal multi-organ segmentation, AMOS22 challenge, MICCAI 2022",
    ),
    trainers=("BANetTrainer",),
    planners=("BANetPlanner", "BANetResEncMPlanner", "BANetResEncLPlanner"),
    supports=("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres", "regions", "ignore label"),
    knobs=(
        Knob(
            "boundary_loss_weight",
            1.0,
            "weight of the boundary loss relative to the segmentation loss; the authors use 1",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "boundary_width",
            3,
            "edge length, in voxels, of the neighbourhood: a voxel is boundary if a smaller label lies in it, so "
            "larger values thicken the boundary; the authors use 3",
            lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 3 and value % 2 == 1,
            "an odd integer >= 3",
        ),
        Knob(
            "v1_decoder_kernels",
            False,
            "decoder stages use the kernel size of the encoder stage below, as in the authors' nnU-Net v1; needed to "
            "load their weights with anisotropic plans",
            one_of(True, False),
            "true or false",
        ),
    ),
)
