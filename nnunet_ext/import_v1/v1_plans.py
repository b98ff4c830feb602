"""The plans of nnU-Net v1: a pickled dict, ``plans.pkl``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_ext.errors import UserError
from nnunet_ext.foreign.pickle_file import read_foreign_pickle
from nnunet_ext.import_v1.preprocessing import Preprocessing
from nnunet_ext.import_v1.v1_checkpoint import V1Checkpoint

STAGES, PLANS = "plans_per_stage", "plans"
NEEDED = (STAGES, "base_num_features", "num_modalities", "num_classes")
NEEDED_OF_STAGE = ("patch_size", "current_spacing", "pool_op_kernel_sizes", "conv_kernel_sizes")
SCHEMES = {"CT": "CTNormalization", "noNorm": "NoNormalization", "nonCT": "ZScoreNormalization"}
NO_SCHEME = ("CT2",)  # clips, then takes mean and deviation of the clipped image
INTENSITIES = {  # v1's names by v2's
    "mean": "mean",
    "median": "median",
    "std": "sd",
    "min": "mn",
    "max": "mx",
    "percentile_00_5": "percentile_00_5",
    "percentile_99_5": "percentile_99_5",
}


@dataclass(frozen=True, repr=False)
class V1Plans:
    """v1's plans for one stage.

    Args:
        file: Where they were found.
        content: The plans, with lists instead of numpy's arrays.
        stage: Number of the stage.
    """

    file: Path
    content: Mapping[str, Any]
    stage: int

    @classmethod
    def find(cls, checkpoint: V1Checkpoint, given: Path | None, *, trust: bool = False) -> V1Plans | None:
        """Read the plans that belong to a checkpoint.

        Args:
            checkpoint: The checkpoint.
            given: A file of the user's: ``plans.pkl``, or ``FILE.model.pkl``, which holds them too.
            trust: Let pickle run what the file names.

        Returns:
            The plans; None if there is no such file beside the checkpoint or in the folder above it.

        Raises:
            UserError: A file holds no plans of v1, or not the stage.
        """
        if given is None and PLANS in checkpoint.stored:
            beside = checkpoint.file.with_name(f"{checkpoint.file.name}.pkl")
            return cls._of(beside, checkpoint.stored[PLANS], checkpoint)
        folder = checkpoint.file.absolute().parent
        for file in [given] if given is not None else [folder / "plans.pkl", folder.parent / "plans.pkl"]:
            if given is not None or file.is_file():
                content = read_foreign_pickle(file, trust=trust)
                inner = content.get(PLANS, content) if isinstance(content, Mapping) else content
                return cls._of(file, inner, checkpoint)
        return None

    @classmethod
    def _of(cls, file: Path, found: Any, checkpoint: V1Checkpoint) -> V1Plans:
        content = _plain(found)
        if not isinstance(content, dict):
            raise UserError(f"{file}: expected plans of nnU-Net v1, found {type(found).__name__}. Give v1's plans.pkl.")
        _check_keys(file, content, NEEDED, "plans of nnU-Net v1")
        stages = content[STAGES]
        if not isinstance(stages, dict) or not stages:
            raise UserError(f"{file}: expected {STAGES!r} with a stage, found {stages!r}. Give v1's plans.pkl.")
        stage = max(stages) if checkpoint.stage is None else checkpoint.stage[0]
        if stage not in stages:
            raise UserError(
                f"{file}: expected the stage {stage} that was trained, found {', '.join(map(str, stages))}. Give the "
                f"plans of this training."
            )
        _check_keys(file, stages[stage], NEEDED_OF_STAGE, f"{STAGES}[{stage}]")
        _check_sizes(file, content, stages[stage])
        return cls(file, content, stage)

    @property
    def planned(self) -> Mapping[str, Any]:
        """The stage's plans."""
        found: Mapping[str, Any] = self.content[STAGES][self.stage]
        return found

    @property
    def patch_size(self) -> list[int]:
        """Voxels, in v1's order after its transposition."""
        return [int(length) for length in self.planned["patch_size"]]

    @property
    def spacing(self) -> list[float]:
        """Target spacing in mm, in the same order; that of 2d plans without the axis of the slices."""
        return [float(length) for length in self.planned["current_spacing"]][-len(self.patch_size) :]

    @property
    def configuration(self) -> str:
        """v2's name of the stage."""
        if len(self.patch_size) == 2:
            return "2d"
        return "3d_fullres" if self.stage == max(self.content[STAGES]) else "3d_lowres"

    @property
    def channel_names(self) -> list[str]:
        """Names of the image channels, as ``CT``."""
        names = self.content.get("modalities")
        channels = range(int(self.content["num_modalities"]))
        return [str(names[channel]) if isinstance(names, dict) and channel in names else "MR" for channel in channels]

    def preprocessing(self) -> Preprocessing:
        """Return what v2 needs to preprocess images as v1 did.

        Raises:
            UserError: v2 has no such normalization, or the intensities that it needs are missing.
        """
        named = self.content.get("normalization_schemes")
        mask = self.content.get("use_mask_for_norm")
        schemes, masks, intensities = [], [], {}
        for channel, name in enumerate(self.channel_names):
            scheme = str(named[channel]) if isinstance(named, dict) and channel in named else name
            masks.append(bool(mask[channel]) if isinstance(mask, dict) and channel in mask else False)
            schemes.append(SCHEMES.get(scheme, SCHEMES["nonCT"]))
            intensities[str(channel)] = self._intensities(channel)
            is_ct = schemes[-1] == SCHEMES["CT"]
            if scheme in NO_SCHEME or (is_ct and masks[-1]):
                raise UserError(
                    f"{self.file}: expected a normalization that nnU-Net v2 has, CT, nonCT or noNorm, found {scheme!r}"
                    f"{' inside a mask' if is_ct else ''} for channel {channel}. Predict with v1, or train again."
                )
            if is_ct and not {"mean", "std", "percentile_00_5", "percentile_99_5"} <= intensities[str(channel)].keys():
                raise UserError(
                    f"{self.file}: expected dataset_properties['intensityproperties'][{channel}] with mean, sd, "
                    f"percentile_00_5 and percentile_99_5, which CT images are normalized with, found "
                    f"{', '.join(intensities[str(channel)]) or 'none'}. Give the plans that the training wrote."
                )
        order = list(range(3))
        return Preprocessing(
            spacing=self.spacing,
            schemes=schemes,
            masks=masks,
            intensities=intensities,
            transpose_forward=[int(axis) for axis in self.content.get("transpose_forward") or order],
            transpose_backward=[int(axis) for axis in self.content.get("transpose_backward") or order],
        )

    def fingerprint(self) -> dict[str, Any]:
        """Return what v1 knew of the training images, in the form of v2's dataset_fingerprint.json."""
        properties = self.content.get("dataset_properties")
        known = properties if isinstance(properties, dict) else {}
        return {
            "spacings": known.get("all_spacings") or [],
            "shapes_after_crop": known.get("all_sizes") or [],
            "foreground_intensity_properties_per_channel": {
                str(channel): self._intensities(channel) for channel in range(len(self.channel_names))
            },
        }

    def _intensities(self, channel: int) -> dict[str, float]:
        properties = self.content.get("dataset_properties")
        every = properties.get("intensityproperties") if isinstance(properties, dict) else None
        found = every.get(channel) if isinstance(every, dict) else None
        if not isinstance(found, dict):
            return {}
        return {ours: float(found[theirs]) for ours, theirs in INTENSITIES.items() if theirs in found}


def _check_keys(file: Path, content: Mapping[str, Any], needed: tuple[str, ...], what: str) -> None:
    missing = next((key for key in needed if key not in content), None)
    if missing is not None:
        raise UserError(
            f"{file}: expected {what} with {missing!r}, found {', '.join(map(str, list(content)[:8])) or 'nothing'}. "
            f"Give v1's plans.pkl."
        )


def _check_sizes(file: Path, content: Mapping[str, Any], planned: Mapping[str, Any]) -> None:
    """Refuse plans whose numbers are no numbers, or not as many as the patch has axes."""
    patch, spacing = planned["patch_size"], planned["current_spacing"]
    axes = len(patch) if isinstance(patch, list) else 0
    rows = {f"{key}[{i}]": row for key in NEEDED_OF_STAGE[2:] for i, row in enumerate(_listed(planned[key]))}
    checked = {
        "patch_size": (patch, axes),
        "current_spacing": (spacing, 3 if axes == 2 and len(_listed(spacing)) == 3 else axes),
    }
    checked |= {name: (row, axes) for name, row in rows.items()}
    checked |= {name: ([content[name]], 1) for name in NEEDED[1:]}
    for name, (found, count) in checked.items():
        numbers = _listed(found)
        legal = all(type(each) in (int, float) and 0 < each < math.inf for each in numbers)
        if axes not in (2, 3) or len(numbers) != count or not legal:
            raise UserError(
                f"{file}: expected {name!r} with {count or '2 or 3'} numbers above 0, found {found!r}. Give the plans "
                f"that the training wrote."
            )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _plain(value: Any) -> Any:
    """Return a value with Python's lists, dicts and numbers in place of numpy's."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return _plain(value.tolist()) if isinstance(value, np.ndarray | np.generic) else value
