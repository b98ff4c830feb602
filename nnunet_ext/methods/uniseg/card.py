"""The card of UniSeg."""

from nnunet_ext.base.method import Knob, Method, one_of

CARD = Method(
    key="uniseg",
    title="UniSeg",
    summary="One network for a collection of datasets, told by a learnable prompt which task it is on",
    papers=(
        "Ye et al., UniSeg: a prompt-driven universal segmentation model as well as a strong representation learner, "
        "MICCAI 2023, https://arxiv.org/abs/2304.03493",
    ),
    trainers=("UniSegTrainer",),
    planners=("UniSegPlanner", "UniSegResEncMPlanner", "UniSegResEncLPlanner"),
    supports=("3d_fullres", "collections", "regions", "ignore label"),
    knobs=(
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
