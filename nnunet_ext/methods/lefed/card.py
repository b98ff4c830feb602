"""The card of LeFeD."""

from nnunet_ext.base.method import Knob, Method, integer, number, one_of, optional

MOST_CLASSES_AT_FULL_SIZE = 4  # side heads of more are compared at their own size


def _weights(value: object) -> bool:
    return isinstance(value, list) and value != [] and all(map(number(0), value))


CARD = Method(
    key="lefed",
    title="LeFeD",
    summary="Semi-supervised: two decoders agree on unlabelled images; their disagreement is fed back to the encoder",
    papers=(
        "Zeng et al., Consistency-guided differential decoding for enhancing semi-supervised medical image "
        "segmentation, IEEE TMI 2025, https://doi.org/10.1109/TMI.2024.3429340",
    ),
    trainers=("LeFeDTrainer",),
    planners=("LeFeDPlanner", "LeFeDResEncMPlanner", "LeFeDResEncLPlanner"),
    supports=("2d", "3d_fullres", "3d_lowres", "regions", "ignore label", "unlabelled images"),
    knobs=(
        Knob("passes", 3, "optimizer steps on each batch; the authors use 3", integer(1), "an integer >= 1"),
        Knob(
            "feedback_scale",
            1e-3,
            "share of the decoders' difference that is added in the next pass; the authors use 1e-3",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "bottleneck_dropout",
            None,
            "channels dropped at the bottleneck; null: 0.3 (the authors), 0 below 16 features at full size",
            optional(number(0, below=1)),
            "a number >= 0 and < 1, or null",
        ),
        Knob(
            "head_dropout",
            None,
            "channels dropped before each decoder's head; null: 0.5 (the authors), 0 below 16 features",
            optional(number(0, below=1)),
            "a number >= 0 and < 1, or null",
        ),
        Knob(
            "consistency_weight",
            1.0,
            "weight of the decoders' difference, from the first step on; the authors use 1",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "side_weights",
            [0.8, 0.6, 0.4, 0.2, 0.1],
            "weights of the side heads, full resolution first; the last is for all lower ones",
            _weights,
            "a list of numbers >= 0, at least one",
        ),
        Knob(
            "side_at_full_size",
            None,
            "side heads are compared at the image's size, as the authors do; null: for up to 4 classes or regions",
            one_of(None, True, False),
            "true, false or null",
        ),
        Knob(
            "supervised_loss",
            "dice_and_ce",
            "nnU-Net's Dice + cross-entropy, or the authors' squared_dice",
            one_of("dice_and_ce", "squared_dice"),
            "'dice_and_ce' or 'squared_dice'",
        ),
        Knob(
            "own_decoder",
            False,
            "decoder 1 gets up-sampling with normalization, as the authors'; nnunet_ext strip then has no plain U-Net",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "mean_of_decoders",
            False,
            "predict the mean of both decoders, as the authors did at first",
            one_of(True, False),
            "true or false",
        ),
    ),
)
