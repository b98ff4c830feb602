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
        Knob(
            "passes",
            3,
            "passes over each batch, with one optimizer step each, so an epoch takes that many times as long; the "
            "authors use 3; with 1 there is no feedback",
            integer(1),
            "an integer >= 1",
        ),
        Knob(
            "feedback_scale",
            1e-3,
            "factor by which the decoders' difference is multiplied before it is added in the next pass; the authors "
            "use 1e-3; 0, without feedback, is the control",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "bottleneck_dropout",
            None,
            "share of channels dropped at the bottleneck, after the feedback, in training only; null: 0.3 (the "
            "authors), or 0 in networks with fewer than 16 features at full resolution",
            optional(number(0, below=1)),
            "a number >= 0 and < 1, or null",
        ),
        Knob(
            "head_dropout",
            None,
            "share of channels dropped before each decoder's head, in training only; null: 0.5 (the authors), or 0 in "
            "networks with fewer than 16 features at full resolution",
            optional(number(0, below=1)),
            "a number >= 0 and < 1, or null",
        ),
        Knob(
            "consistency_weight",
            1.0,
            "weight of the consistency loss (the decoders' difference), constant from the first step on; the authors "
            "use 1",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "side_weights",
            [0.8, 0.6, 0.4, 0.2, 0.1],
            "weights of the side heads' losses, full resolution first; the last one applies to all lower resolutions",
            _weights,
            "a list of numbers >= 0, at least one",
        ),
        Knob(
            "side_at_full_size",
            None,
            "true: side logits are resized to the image, as in the authors' code; false: targets are resized to the "
            "heads, to save memory; null: true for up to 4 classes or regions",
            one_of(None, True, False),
            "true, false or null",
        ),
        Knob(
            "supervised_loss",
            "dice_and_ce",
            "dice_and_ce: nnU-Net's Dice + cross-entropy; squared_dice: the authors' Dice loss, with squares in the "
            "denominator",
            one_of("dice_and_ce", "squared_dice"),
            "'dice_and_ce' or 'squared_dice'",
        ),
        Knob(
            "own_decoder",
            False,
            "decoder 1 upsamples with normalization, as in the authors' code; nnunet_ext strip then has no plain "
            "U-Net to export",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "mean_of_decoders",
            False,
            "predict the mean of both decoders' logits, as in the authors' code until February 2024, instead of those "
            "of decoder 1",
            one_of(True, False),
            "true or false",
        ),
    ),
)
