"""The simulated shifts, each at two fixed strengths, that a model is tested with.

nnU-Net does not train with them: their strengths are beyond what its augmentation draws (gamma from 0.7 to 1.5, blur of
up to 1 voxel, noise of up to 0.1 standard deviations), or it has no such augmentation; only down-sampling by 2 is the
end of its range. Blur and resolution are those of the image's own voxels: if the plans resample it to larger ones, they
may be within that range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_ext.shifts.intensity import bias_field, gamma, inversion, rician_noise
from nnunet_ext.shifts.resolution import blur, down_sampling

Change = Callable[[NDArray[np.float32], float, Sequence[float], np.random.Generator], NDArray[np.float32]]
KINDS: dict[str, Change] = {
    "gamma": lambda channel, strength, _, __: gamma(channel, strength),
    "bias field": lambda channel, strength, _, generator: bias_field(channel, strength, generator),
    "noise": lambda channel, strength, _, generator: rician_noise(channel, strength, generator),
    "blur": lambda channel, strength, spacing, _: blur(channel, strength, spacing),
    "resolution": lambda channel, strength, spacing, _: down_sampling(channel, strength, spacing),
    "inversion": lambda channel, strength, _, __: inversion(channel, strength),
}
HIGH = 99.5  # percentile that is the upper end of a channel's own range


@dataclass(frozen=True)
class Shift:
    """A shift of images; the same case gets the same one each time.

    Args:
        kind: One of :data:`KINDS`.
        strength: gamma: exponent; bias field: amplitude; noise: standard deviation in the channel's own range; blur:
            standard deviation, resolution: size of a block, both in edges of the finest voxel axis; inversion: which
            part of the range, from the top.

    Example:
        >>> image = np.float32([[[[100, 200, 300, 500]]]])
        >>> Shift("inversion", 1.0).of(image, (1, 1, 1), "case_00").round().tolist()
        [[[[497.0, 397.0, 297.0, 97.0]]]]
    """

    kind: str
    strength: float

    @property
    def name(self) -> str:
        """Such as ``gamma 0.5``."""
        return f"{self.kind} {self.strength:g}"

    def of(
        self,
        image: NDArray[np.generic],
        spacing: Sequence[float],
        case: str,
        limits: tuple[float, float] | None = None,
    ) -> NDArray[np.float32]:
        """Return the image with this shift.

        What nnU-Net takes for the outside of an image (0 in all channels, and not enclosed by other values) stays 0.
        Each channel is changed in its own range, and for itself; one without contrast is not changed.

        Args:
            image: (C, D, H, W), as it was read.
            spacing: Voxel size of D, H, W in mm.
            case: Name of the case, the seed of what is random. Both strengths of a kind draw the same.
            limits: What is beyond them is set to them, as a photograph's detector saturates; None: nothing is.
        """
        generator = np.random.default_rng(list(f"{self.kind}/{case}".encode()))
        inside = ndimage.binary_fill_holes((image != 0).any(0))
        shifted = image.astype(np.float32)
        for channel in shifted:
            values = channel[inside]
            low, high = (float(values.min()), float(np.percentile(values, HIGH))) if values.size else (0.0, 0.0)
            if high <= low:
                continue
            own = np.maximum((channel - low) / (high - low), 0)  # outside, 0 may be below the darkest voxel or above
            changed = KINDS[self.kind](own, self.strength, spacing, generator)
            channel[inside] = (changed * (high - low) + low)[inside]
        return shifted if limits is None else shifted.clip(*limits)


SHIFTS = (
    Shift("gamma", 0.5),
    Shift("gamma", 2.0),
    Shift("bias field", 0.4),
    Shift("bias field", 0.7),
    Shift("noise", 0.1),
    Shift("noise", 0.2),
    Shift("blur", 1.2),
    Shift("blur", 2.0),
    Shift("resolution", 2.0),
    Shift("resolution", 3.0),
    Shift("inversion", 0.5),
    Shift("inversion", 1.0),
)
