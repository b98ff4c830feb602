"""The card of TransDoDNet."""

from nnunet_ext.base.method import Knob, Method, integer, one_of

CARD = Method(
    key="transdodnet",
    title="TransDoDNet",
    summary="One network for a collection of datasets; a transformer with a query per task makes its last layers",
    papers=(
        "Xie et al., Learning from partially labeled data for multi-organ and tumor segmentation, TPAMI 2023, "
        "https://arxiv.org/abs/2211.06894",
    ),
    trainers=("TransDoDNetTrainer",),
    planners=("TransDoDNetPlanner", "TransDoDNetResEncMPlanner", "TransDoDNetResEncLPlanner"),
    supports=("3d_fullres", "collections", "regions", "ignore label"),
    knobs=(
        Knob(
            "hidden_channels",
            192,
            "channels of the transformer",
            lambda value: integer(8)(value) and value % 8 == 0,
            "a multiple of 8",
        ),
        Knob(
            "levels", 3, "how many of the coarsest levels the transformer sees at most", integer(1), "an integer >= 1"
        ),
        Knob("encoder_layers", 3, "layers of the transformer's encoder", integer(1), "an integer >= 1"),
        Knob("decoder_layers", 3, "layers of the transformer's decoder", integer(1), "an integer >= 1"),
        Knob("head_width", 8, "channels of the features that the dynamic head takes", integer(1), "an integer >= 1"),
        Knob("head_depth", 3, "layers of the dynamic head", integer(1), "an integer >= 1"),
        Knob(
            "deep_supervision",
            True,
            "lower scales are trained too, with the same kernels; the authors do not",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "controller_activation",
            "leaky_relu",
            "between the controller's layers; the authors' relu lets units die, and tasks with them",
            one_of("leaky_relu", "gelu", "relu"),
            "'leaky_relu', 'gelu' or 'relu'",
        ),
    ),
    recipe={"optimizer": "AdamW", "initial_lr": 2e-4, "weight_decay": 1e-4, "warm_up": 0.01},
)
