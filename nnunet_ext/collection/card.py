"""The card of collections: what all their trainers share."""

from nnunet_ext.base.method import Knob, Method, one_of, optional

SAMPLING = ("equal", "proportional", "sqrt", "weights")
OWN, LINKS = "own", "links"  # weights of task views

CARD = Method(
    key="multi_dataset",
    title="Collections",
    summary="Several datasets, each with its own labels, channels and spacing, and one network",
    trainers=(),
    planners=("CollectionLitePlanner",),
    supports=(
        "3d_fullres",
        "regions",
        "ignore label",
        "members with different channels, spacings and labels",
        "mixed batches",
    ),
    knobs=(
        Knob(
            "sampling",
            None,
            "how often each task is trained: equal (UniSeg), proportional to its cases (DoDNet) or to their square "
            "root (sqrt, MultiTalent), or by the manifest's weights; null: weights if there are any, else equal",
            optional(one_of(*SAMPLING)),
            f"{', '.join(map(repr, SAMPLING))} or null",
        ),
        Knob(
            "mixed_batches",
            False,
            "every sample of a training batch has its own task, as in the training of DoDNet and TransDoDNet; all "
            "tasks must have the same number of channels",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "view_weights",
            OWN,
            "own: each task view has a copy of the weights; links: the weights are stored only once, but importing "
            "the zip of one view with nnU-Net then overwrites the collection and all views",
            one_of(OWN, LINKS),
            f"{OWN!r} or {LINKS!r}",
        ),
    ),
)
