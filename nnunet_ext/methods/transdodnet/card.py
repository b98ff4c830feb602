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
            "channels of the transformer, which has 8 heads; the authors use 192; with Lite plans, 64 take a third "
            "of the time",
            lambda value: integer(8)(value) and value % 8 == 0,
            "a multiple of 8",
        ),
        Knob(
            "levels",
            3,
            "number of coarsest levels that the transformer processes; in shallow networks, only those where a token "
            "represents at least 32 voxels, or the coarsest one",
            integer(1),
            "an integer >= 1",
        ),
        Knob(
            "encoder_layers",
            3,
            "layers of the transformer's encoder, which processes the image",
            integer(1),
            "an integer >= 1",
        ),
        Knob(
            "decoder_layers",
            3,
            "layers of the transformer's decoder, in which the tasks' queries attend to the image",
            integer(1),
            "an integer >= 1",
        ),
        Knob(
            "head_width",
            8,
            "channels of the dynamic head and of the features that it receives",
            integer(1),
            "an integer >= 1",
        ),
        Knob("head_depth", 3, "layers of the dynamic head", integer(1), "an integer >= 1"),
        Knob(
            "deep_supervision",
            True,
            "train the lower scales of the decoder, too, with the same kernels; the authors do not",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "controller_activation",
            "leaky_relu",
            "activation between the two layers that generate the kernels; with the authors' relu, units may die if "
            "the learning rate is large, and tasks are then no longer distinguished",
            one_of("leaky_relu", "gelu", "relu"),
            "'leaky_relu', 'gelu' or 'relu'",
        ),
    ),
    recipe={"optimizer": "AdamW", "initial_lr": 2e-4, "weight_decay": 1e-4, "warm_up": 0.01},
)
