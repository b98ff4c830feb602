"""The card of VerSemi."""

from nnunet_ext.base.method import Knob, Method, number, one_of, optional


def _share(value: object) -> bool:
    return number(0)(value) and value <= 1  # type: ignore[operator]


SHARE = "a number from 0 to 1"
WEIGHTS = ("synthetic_weight", "specific_weight", "consistency_weight", "box_weight")

CARD = Method(
    key="versemi",
    title="VerSemi",
    summary="DoDNet on labelled and unlabelled images of many datasets; one more task is the union of all others",
    papers=(
        "Zeng et al., Segment together: a versatile paradigm for semi-supervised medical image segmentation, IEEE TMI "
        "2025, https://arxiv.org/abs/2311.11686",
    ),
    trainers=("VerSemiTrainer",),
    planners=("VerSemiPlanner", "VerSemiResEncMPlanner", "VerSemiResEncLPlanner"),
    supports=("3d_fullres", "collections", "regions", "ignore label", "members with unlabelled images"),
    knobs=(
        Knob(
            "synthetic_weight",
            1,
            "weight of the synthetic task (the foreground of any task) on labelled images that are mixed",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "specific_weight",
            1,
            "weight of the images' own tasks on labelled images that are mixed",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "consistency_weight",
            1,
            "weight of the agreement of the synthetic task with all tasks together on unlabelled images",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "box_weight",
            1,
            "weight of the synthetic task in the labelled box of an unlabelled image",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "mix",
            "across",
            "which images are mixed: of any members with as many channels (across), or of one member (within; where a "
            "batch has no two samples of a member, no labelled images are mixed)",
            one_of("across", "within"),
            "'across' or 'within'",
        ),
        Knob(
            "aggregate",
            "max",
            "all tasks together: the largest of their foreground probabilities q (max), as the authors do, or "
            "1 - prod(1 - q) (noisy_or)",
            one_of("max", "noisy_or"),
            "'max' or 'noisy_or'",
        ),
        Knob(
            "other_task_threshold",
            0.5,
            "the synthetic task does not learn as background what a task that is not annotated there finds with more "
            "than this probability, nor a task anything from another member's image; null: it does, as the authors'",
            optional(_share),
            f"{SHARE}, or null",
        ),
        Knob(
            "detach",
            True,
            "the agreement trains the synthetic task and what all tasks share; false: the other tasks, too, as the "
            "authors do, which needs ema_decay=null",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "ema_decay",
            0.99,
            "share of the teacher, whose tasks the synthetic one agrees with, that is kept in each step; null: no "
            "teacher, the tasks are the network's own, as the authors'",
            optional(number(0, below=1)),
            "a number >= 0 and < 1, or null",
        ),
        Knob(
            "warm_up",
            0.5,
            "share of the training that sees labelled images only; the authors use 0.5",
            number(0, below=1),
            "a number >= 0 and < 1",
        ),
        Knob(
            "ramp",
            0.1,
            "share of the training over which the weight of the agreement grows after the warm-up; 0: at once, as the "
            "authors do",
            _share,
            SHARE,
        ),
    ),
)
