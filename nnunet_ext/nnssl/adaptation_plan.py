"""The adaptation plan in a checkpoint of nnssl: what was pre-trained, on which images, and how to continue it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from nnunet_ext.errors import UserError
from nnunet_ext.nnssl.encoder_weights import ENCODER, FIRST, KEY, STEM, EncoderWeights
from nnunet_ext.nnssl.unet_of_shapes import PRESET, UNETS, unet_of_shapes

RESIDUAL, PLAIN = "ResidualEncoderUNet", "PlainConvUNet"
NETWORKS = {PRESET: RESIDUAL, RESIDUAL: RESIDUAL, PLAIN: PLAIN}
OF_DATA = ("input_channels", "num_classes", "deep_supervision")  # arguments of a network that its data decide
Z_SCORE = "ZScoreNormalization"
SCHEMES = (Z_SCORE, "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization")  # need no other numbers
NOT_RESAMPLED, ISOTROPIC = "noresample", "onemmiso"
AXES = [0, 1, 2]
BATCH = 2  # that nnU-Net's trainer for such weights takes


@dataclass(frozen=True)
class AdaptationPlan:
    """What a checkpoint of nnssl says of its pre-training.

    Args:
        network: Class or preset, as nnssl calls it: ``ResEncL``, ``ResidualEncoderUNet``, ``PlainConvUNet``.
        kwargs: The arguments of its class; None: the shapes of its weights tell them.
        imported: Which of them are names of classes.
        channels: Input channels.
        patch_size: Recommended for fine-tuning, in voxels, in the order of the plans.
        style: How images were resampled: ``onemmiso``, ``median`` or ``noresample``.
        spacing: In mm, in the order of the plans; None: images kept their own, or the plan does not say it.
        transpose: ``transpose_forward``.
        schemes: The normalization of each channel.
        masks: Whether only voxels that are not zero count for it.
        configuration: Name of the configuration.
        dataset: Name of the pre-training's dataset; None: unknown.
        content: All of it.
    """

    network: str
    kwargs: dict[str, Any] | None
    imported: tuple[str, ...]
    channels: int
    patch_size: tuple[int, ...]
    style: str
    spacing: tuple[float, ...] | None
    transpose: tuple[int, ...]
    schemes: tuple[str, ...]
    masks: tuple[bool, ...]
    configuration: str
    dataset: str | None
    content: dict[str, Any] = field(repr=False)

    @classmethod
    def read(cls, content: Any, place: object) -> AdaptationPlan:
        """Read an adaptation plan.

        Args:
            content: The plan, as JSON has it.
            place: The file, for messages.

        Raises:
            UserError: It is incomplete, has values of other types, or its network is none that plans can describe.
        """
        part = _Part(content, KEY, place)
        architecture = part.inside("architecture_plans")
        network = architecture.value("arch_class_name", "text", lambda name: isinstance(name, str) and bool(name))
        network = network.rpartition(".")[2]
        if network not in NETWORKS:
            raise UserError(
                f"{place}: expected a pre-trained network that plans of nnU-Net can describe ({', '.join(NETWORKS)}), "
                f"found {network[:60]}. Take nnssl's weights of a ResEnc-L ({PRESET}) instead."
            )
        kwargs = architecture.value("arch_kwargs", "arguments or None", lambda each: each is None or _is_named(each))
        imported = architecture.value(
            "arch_kwargs_requiring_import",
            "names or None",
            lambda each: each is None or (isinstance(each, list) and all(isinstance(name, str) for name in each)),
        )
        channels = part.value("pretrain_num_input_channels", "a whole number", lambda each: _is_whole(each))
        pretrained = part.inside("pretrain_plan")
        configurations = pretrained.value(
            "configurations",
            "one configuration",
            lambda each: _is_named(each) and len(each) == 1 and _is_named(*each.values()),
        )
        ((configuration, planned),) = configurations.items()
        style = planned.get("spacing_style")
        style = style if isinstance(style, str) else configuration
        settings = _Part(planned, "its configuration", place)
        schemes = settings.value(
            "normalization_schemes",
            f"one or {channels} of {', '.join(SCHEMES)}",
            lambda each: _are(each, lambda scheme: scheme in SCHEMES) and len(each) in (1, channels),
            [Z_SCORE],
        )
        masks = settings.value(
            "use_mask_for_norm",
            f"one or {channels} of true and false",
            lambda each: _are(each, lambda mask: isinstance(mask, bool)) and len(each) in (1, channels),
            [False],
        )
        transpose = pretrained.value(
            "transpose_forward", "0, 1 and 2", lambda each: _are(each, _is_axis) and sorted(each) == AXES, AXES
        )
        dataset = pretrained.content.get("dataset_name")
        return cls(
            network=network,
            kwargs=None if kwargs is None else {key: value for key, value in kwargs.items() if key not in OF_DATA},
            imported=tuple(imported or ()),
            channels=channels,
            patch_size=tuple(part.value("recommended_downstream_patchsize", "three numbers of voxels", _is_patch)),
            style=style,
            spacing=_spacing(style, planned, pretrained.content),
            transpose=tuple(transpose),
            schemes=_for_each(schemes, channels),
            masks=_for_each(masks, channels),
            configuration=configuration,
            dataset=dataset if isinstance(dataset, str) else None,
            content=part.content,
        )

    def plans(self, encoder: EncoderWeights, place: object) -> dict[str, Any]:
        """Return plans as nnU-Net has them, with the one configuration of the pre-training.

        Args:
            encoder: The weights of the checkpoint.
            place: The file, for messages.

        Returns:
            ``spacing`` is None where images kept their own.

        Raises:
            UserError: The weights have another number of channels or axes than the adaptation plan says.
        """
        self._check(encoder.weights, place)
        if self.kwargs is None:
            architecture = unet_of_shapes(encoder.weights, encoder.left_out, self.network, place)
        else:
            architecture = {
                "network_class_name": f"{UNETS}.{NETWORKS[self.network]}",
                "arch_kwargs": self.kwargs,
                "_kw_requires_import": list(self.imported),
            }
        return {
            "dataset_name": self.dataset,
            "plans_name": "nnsslPlans",
            "transpose_forward": list(self.transpose),
            "transpose_backward": [int(axis) for axis in np.argsort(self.transpose)],
            "foreground_intensity_properties_per_channel": {},
            "configurations": {
                self.configuration: {
                    "spacing": None if self.spacing is None else list(self.spacing),
                    "patch_size": list(self.patch_size),
                    "batch_size": BATCH,
                    "normalization_schemes": list(self.schemes),
                    "use_mask_for_norm": list(self.masks),
                    "architecture": architecture,
                }
            },
        }

    def of_encoder_alone(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        """Return the adaptation plan for a checkpoint that holds nothing but the encoder, under nnU-Net's names.

        Args:
            architecture: As :meth:`plans` describes it, which may need the decoder.
        """
        described = {
            "arch_class_name": architecture["network_class_name"],
            "arch_kwargs": architecture["arch_kwargs"],
            "arch_kwargs_requiring_import": architecture["_kw_requires_import"],
        }
        return self.content | {ENCODER: "encoder.stages", STEM: "encoder.stem", "architecture_plans": described}

    def _check(self, weights: Mapping[str, Any], place: object) -> None:
        first: Tensor = next(weights[name] for name in FIRST if name in weights)
        expected = (self.channels, len(self.patch_size))
        found = (first.shape[1], first.ndim - 2) if first.ndim > 2 else tuple(first.shape)
        if found != expected:
            raise UserError(
                f"{place}: expected a first convolution for {expected[0]} channels and {expected[1]} axes, as {KEY} "
                f"says, found one of shape {tuple(first.shape)}. Take the checkpoint as nnssl wrote it."
            )


class _Part:
    """A part of the plan, and its name for messages."""

    def __init__(self, content: Any, name: str, place: object) -> None:
        self.content: dict[str, Any] = content if isinstance(content, dict) else {}
        self.name, self.place = name, place

    def inside(self, key: str) -> _Part:
        found = self.value(key, "entries by name", _is_named)
        return _Part(found, key, self.place)

    def value(self, key: str, expected: str, fits: Any, default: Any = None) -> Any:
        """Return a value that fits; the default, if there is one, where the key is missing or its value None."""
        found = self.content.get(key)
        found = default if found is None else found
        if not fits(found):
            told = "none" if key not in self.content else repr(found)[:60]
            raise UserError(
                f"{self.place}: expected {expected} for {key!r} of {self.name}, found {told}. Take the checkpoint as "
                f"nnssl wrote it."
            )
        return found


def _spacing(style: str, planned: Mapping[str, Any], plan: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Return the spacing that images were resampled to."""
    if style == NOT_RESAMPLED:
        return None
    for found in (planned.get("spacing"), plan.get("original_median_spacing_after_transp")):
        if isinstance(found, list) and len(found) == 3 and all(_is_size(step) for step in found):
            return tuple(float(step) for step in found)
        if style == ISOTROPIC:  # the median is that of images before resampling
            return 1.0, 1.0, 1.0
    return None


def _for_each(values: list[Any], channels: int) -> tuple[Any, ...]:
    """Return a value for each channel, where one may stand for all."""
    return tuple(values) if len(values) == channels else (values[0],) * channels


def _is_named(value: Any) -> bool:
    return isinstance(value, dict)


def _is_whole(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_axis(value: Any) -> bool:
    return type(value) is int


def _is_size(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < float("inf")


def _are(value: Any, fits: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(fits, value))


def _is_patch(value: Any) -> bool:
    return _are(value, _is_whole) and len(value) == 3
