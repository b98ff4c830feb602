"""The card of unlabelled images: what all semi-supervised trainers share."""

from nnunet_ext.base.method import Knob, Method, integer, number, one_of, optional


def _share(value: object) -> bool:
    return number(0)(value) and value <= 1  # type: ignore[operator]


CARD = Method(
    key="unlabelled",
    title="Unlabelled images",
    summary="Images without labels (folder imagesUn) beside the labelled ones",
    trainers=(),
    planners=("SemiSupervisedPlanner", "SemiSupervisedResEncMPlanner", "SemiSupervisedResEncLPlanner"),
    supports=("2d", "3d_fullres", "3d_lowres", "regions", "ignore label"),
    knobs=(
        Knob(
            "batch_size",
            None,
            "unlabelled samples in a batch, in addition to the labelled ones; null: as many as labelled ones; fewer "
            "need less memory",
            optional(integer(1)),
            "an integer >= 1, or null",
        ),
        Knob(
            "ramp",
            0.4,
            "share of the training over which the weight of unlabelled samples grows, as exp(-5 (1 - t)^2) with t "
            "from 0 to 1; 0: the weight is constant",
            _share,
            "a number from 0 to 1",
        ),
        Knob(
            "ema_decay",
            0.99,
            "share of the teacher's weights that is kept in each step, the rest is the student's; less at first, e.g. "
            "in the first 99 steps for 0.99",
            number(0, below=1),
            "a number >= 0 and < 1",
        ),
        Knob(
            "guided_every",
            None,
            "interval, in epochs, at which the network predicts the unlabelled cases; a third of the patches is then "
            "drawn where it finds foreground; null: random patches",
            optional(integer(1)),
            "an integer >= 1, or null",
        ),
        Knob(
            "checkpoint_halves",
            None,
            "labelled and unlabelled samples are processed one after the other: the same gradients, half the memory, "
            "more time; null: only if the whole batch does not fit the GPU",
            one_of(None, True, False),
            "true, false or null",
            may_change=True,
        ),
    ),
)
