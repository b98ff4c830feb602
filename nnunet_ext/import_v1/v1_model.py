"""A trained model of nnU-Net v1, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nnunet_ext.errors import UserError
from nnunet_ext.import_v1.v1_checkpoint import V1Checkpoint, find_checkpoints
from nnunet_ext.import_v1.v1_geometry import V1Geometry
from nnunet_ext.import_v1.v1_method import V1Method
from nnunet_ext.import_v1.v1_plans import V1Plans

Decision = tuple[str, str, str]  # setting, value, where it comes from


@dataclass(frozen=True, repr=False)
class V1Model:
    """A model of v1: one network, with weights of one or several folds.

    Args:
        method: Its method.
        checkpoints: The checkpoint of each fold.
        plans: v1's plans; UniSeg needs none.
        geometry: The network.
    """

    method: V1Method
    checkpoints: Mapping[str, V1Checkpoint]
    plans: V1Plans | None
    geometry: V1Geometry

    @classmethod
    def read(
        cls,
        method: V1Method,
        source: Path,
        plans: Path | None = None,
        *,
        trust: bool = False,
    ) -> V1Model:
        """Read a model and check that checkpoints, method and plans belong together.

        Args:
            method: The method that it was trained with.
            source: A checkpoint, or the folder of a v1 model.
            plans: v1's plans; by default those beside the checkpoint or in the folder above it.
            trust: Let pickle run what the files name.

        Raises:
            UserError: A file is missing, damaged or unsafe, or they do not belong together.
        """
        files = find_checkpoints(source)
        checkpoints = {fold: V1Checkpoint.read(file, trust=trust) for fold, file in files.items()}
        first = next(iter(checkpoints.values()))
        method.check(first.weights, first.file)
        geometry = V1Geometry.of(first.weights, first.file)
        for other in checkpoints.values():
            method.check(other.weights, other.file)
            if V1Geometry.of(other.weights, other.file) != geometry:
                raise UserError(
                    f"{other.file}: expected the network of {first.file}, found another. Import each by itself."
                )
        found = V1Plans.find(first, plans, trust=trust)
        if found is not None:
            geometry.check_plans(
                first.weights,
                first.file,
                pools=found.planned["pool_op_kernel_sizes"],
                kernels=found.planned["conv_kernel_sizes"],
                base_features=int(found.content["base_num_features"]),
                channels=int(found.content["num_modalities"]),
            )
        elif geometry.prompt is None:
            raise UserError(
                f"{first.file}: expected v1's plans, {first.file.name}.pkl beside it or plans.pkl in the folder above, "
                f"found neither. Give the file as second argument."
            )
        return cls(method, checkpoints, found, geometry)

    @property
    def first(self) -> V1Checkpoint:
        """The checkpoint of the first fold."""
        return next(iter(self.checkpoints.values()))

    def mirroring(self, given: Sequence[int] | None) -> tuple[list[int] | None, str]:
        """Return the axes along which predictions are mirrored, and who says so.

        Args:
            given: The user's axes; None: as stored, else all.

        Raises:
            UserError: The network has no such axis.
        """
        every = list(range(self.geometry.dimensions))
        axes, source = (
            (given, "--mirror_axes") if given is not None else self.first.mirroring or (every, "v1's default")
        )
        if axes is not None and not set(axes) <= set(every):
            raise UserError(f"{source}: expected axes of {every}, got {list(axes)}. Name some of them, or none.")
        return sorted(set(axes)) if axes else None, source

    def network_decisions(self, patch_size: Sequence[int], source: str) -> list[Decision]:
        """Return what is decided of the network."""
        sizes = self.geometry
        features = f"{len(sizes.features)} stages, {sizes.features[0]} to {max(sizes.features)} features"
        return [
            ("method", f"{self.method.key}, {self.method.trainer.__name__}", "--method"),
            ("network", features, "shapes of the weights"),
            ("patch", in_words(patch_size), source),
            ("folds", " ".join(self.checkpoints), str(self.first.file)),
        ]

    def content(
        self,
        fold: str,
        weights: Mapping[str, Tensor],
        plans: Mapping[str, Any],
        configuration: str,
        dataset_json: Mapping[str, Any],
        mirroring: Sequence[int] | None,
    ) -> dict[str, Any]:
        """Return v2's checkpoint of a fold.

        Args:
            fold: The fold.
            weights: v1's state dict, as far as the plans' network has it.
            plans: v2's plans.
            configuration: Name of the configuration.
            dataset_json: The model's dataset.json.
            mirroring: Axes of mirroring, or None.

        Raises:
            UserError: The weights do not fit.
        """
        checkpoint = self.checkpoints[fold]
        return {
            "network_weights": self.method.v2_weights(weights, plans, configuration, dataset_json, checkpoint.file),
            "trainer_name": self.method.trainer.__name__,
            "init_args": {
                "plans": dict(plans),
                "configuration": configuration,
                "fold": fold if fold == "all" else int(fold),
                "dataset_json": dict(dataset_json),
            },
            "inference_allowed_mirroring_axes": None if mirroring is None else tuple(mirroring),
            "current_epoch": checkpoint.epoch,
            "imported_from": {"file": checkpoint.file.name, "method": self.method.key, "trainer": checkpoint.trainer},
        }


def in_words(numbers: Sequence[float]) -> str:
    """Return sizes as ``64 x 192 x 192``."""
    return " x ".join(f"{number:g}" for number in numbers)
