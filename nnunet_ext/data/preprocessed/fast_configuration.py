"""A configuration of nnU-Net's whose resamplers are ours where the plans name nnU-Net's default ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from nnunetv2.configuration import ANISO_THRESHOLD
from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

from nnunet_ext.resampling.images import resample_images
from nnunet_ext.resampling.label_maps import resample_label_maps

DEFAULT = "resample_data_or_seg_to_shape"
THRESHOLD = "separate_z_anisotropy_threshold"
SETTINGS = ("is_seg", "order", "order_z", "force_separate_z", THRESHOLD)  # of nnU-Net's default function
PURPOSES = {"data": "images", "seg": "labels", "probabilities": "logits"}
Resampler = Callable[..., Any]


@dataclass(frozen=True)
class Resampling:
    """How one array is resampled.

    Args:
        order: Of the spline.
        separate_axis: The axis (of D, H, W) of thick slices, which is resampled on its own; None: no such axis.
        order_z: Of the spline along that axis.
    """

    order: int
    separate_axis: int | None
    order_z: int


class FastConfiguration(ConfigurationManager):
    """A configuration of plans that resamples with nnU-Net's results, but faster and with less memory.

    nnU-Net's preprocessor and export take their three resamplers from the configuration that they are given. This one
    returns ours if the plans name nnU-Net's default function and no setting that it does not have, else the plans' own.
    The plans stay as they are, and data made with either resampler can be mixed. It can be pickled, like nnU-Net's.

    Example:
        >>> import numpy as np
        >>> from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
        >>> settings = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
        >>> plans = {"resampling_fn_data": "resample_data_or_seg_to_shape", "resampling_fn_data_kwargs": settings}
        >>> configuration = FastConfiguration.of(ConfigurationManager(plans | {"architecture": {}}))
        >>> image, spacing, new_spacing = np.zeros((1, 4, 4, 4), np.float32), [2, 2, 2], [1, 1, 1]
        >>> configuration.resampling_fn_data(image, [8, 8, 8], spacing, new_spacing).shape
        (1, 8, 8, 8)
    """

    @classmethod
    def of(cls, configuration: ConfigurationManager) -> FastConfiguration:
        """Return the same configuration, with our resamplers."""
        return cls(configuration.configuration)

    def reason_for_stock(self, purpose: str) -> str | None:
        """Return why the plans' own resampler is used, or None if ours is.

        Args:
            purpose: ``"data"``, ``"seg"`` or ``"probabilities"``.
        """
        named = self.configuration[f"resampling_fn_{purpose}"]
        if named != DEFAULT:
            return f"the plans name {named}"
        unknown = [name for name in self._settings(purpose) if name not in SETTINGS]
        return f"the plans have the setting {unknown[0]}" if unknown else None

    def planned_resampling(self, purpose: str, current: Sequence[float], new: Sequence[float]) -> Resampling:
        """Return how nnU-Net's default function resamples an array by these plans.

        Args:
            purpose: ``"data"``, ``"seg"`` or ``"probabilities"``.
            current: Spacing of the array (D, H, W) in mm.
            new: Spacing that it gets.
        """
        settings = {name: value for name, value in self._settings(purpose).items() if name != "is_seg"}
        return _planned(current, new, **settings)

    @property
    def resampling_fn_data(self) -> Resampler:
        """Resampling of images: called with array (C, D, H, W), new shape (D, H, W), spacing and new spacing in mm."""
        return self._ours("data") or super().resampling_fn_data

    @property
    def resampling_fn_seg(self) -> Resampler:
        """Resampling of label maps, called in the same way."""
        return self._ours("seg") or super().resampling_fn_seg

    @property
    def resampling_fn_probabilities(self) -> Resampler:
        """Resampling of logits, called in the same way."""
        return self._ours("probabilities") or super().resampling_fn_probabilities

    def _settings(self, purpose: str) -> dict[str, Any]:
        settings: dict[str, Any] = self.configuration[f"resampling_fn_{purpose}_kwargs"]
        return settings

    def _ours(self, purpose: str) -> Resampler | None:
        return None if self.reason_for_stock(purpose) else partial(_resample, **self._settings(purpose))


def _planned(
    current: Sequence[float],
    new: Sequence[float],
    order: int = 3,
    order_z: int = 0,
    force_separate_z: bool | None = False,
    separate_z_anisotropy_threshold: float = ANISO_THRESHOLD,
) -> Resampling:
    """Decide with nnU-Net's function and its defaults."""
    separate, axis = determine_do_sep_z_and_axis(force_separate_z, current, new, separate_z_anisotropy_threshold)
    return Resampling(order, int(axis) if separate else None, order_z)


def _resample(
    data: np.ndarray | torch.Tensor,
    new_shape: Sequence[int],
    current_spacing: Sequence[float],
    new_spacing: Sequence[float],
    is_seg: bool = False,
    **settings: Any,
) -> np.ndarray:
    """Take what nnU-Net's ``resample_data_or_seg_to_shape`` takes."""
    if isinstance(data, torch.Tensor):
        data = data.numpy()  # as nnU-Net's function does
    how = _planned(current_spacing, new_spacing, **settings)
    resample = resample_label_maps if is_seg else resample_images
    return resample(data, new_shape, order=how.order, separate_axis=how.separate_axis, order_z=how.order_z)


def resampled_by(
    configuration: ConfigurationManager,
    why_stock: str = "as asked",
    purposes: Sequence[str] = ("data", "seg"),
) -> str:
    """Return who resamples in preprocessing, for the user.

    Args:
        configuration: The one that the preprocessor is given.
        why_stock: Why it is nnU-Net's, if it is.
        purposes: Of what is resampled, as in :meth:`FastConfiguration.reason_for_stock`.
    """
    everything = " and ".join(PURPOSES[purpose] for purpose in purposes)
    if not isinstance(configuration, FastConfiguration):
        return f"{everything} are resampled by nnU-Net, {why_stock}"
    reasons = {PURPOSES[purpose]: configuration.reason_for_stock(purpose) for purpose in purposes}
    by = {kind: f"nnU-Net, because {reason}" if reason else "nnunet_ext" for kind, reason in reasons.items()}
    if len(set(by.values())) == 1:
        by = {everything: next(iter(by.values()))}
    return "; ".join(f"{kind} are resampled by {who}" for kind, who in by.items())
