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
            "how often a task is trained: equally (UniSeg), by its cases, by their square root (MultiTalent), or by "
            "the manifest's weights; null: the weights if there are any, else equally",
            optional(one_of(*SAMPLING)),
            f"{', '.join(map(repr, SAMPLING))} or null",
        ),
        Knob(
            "mixed_batches",
            False,
            "every sample of a training batch has its own task; for tasks with the same number of channels",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "view_weights",
            OWN,
            "weights of task views: their own files, or links to the collection's, which store them only once but let "
            "nnU-Net's import of one view's zip overwrite all",
            one_of(OWN, LINKS),
            f"{OWN!r} or {LINKS!r}",
        ),
    ),
)
