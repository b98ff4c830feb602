"""What of a model's files may leave the machine: nothing that names a path or a case, and nothing for training only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from nnunet_ext.base.knobs import BLOCK as KNOBS
from nnunet_ext.collection.task_table import BLOCK as COLLECTION
from nnunet_ext.fine_tuning.fine_tuning_plans import BLOCK as ORIGIN
from nnunet_ext.fine_tuning.source.plain_json import plain_json

NEEDED = ("channel_names", "modality", "labels", "regions_class_order", "numTraining", "file_ending")  # dataset.json
READER = "overwrite_image_reader_writer"
TEXTS = ("name", "description", "reference", "release", "licence", "license", "challenge")  # kept without paths
OF_FINGERPRINT = (
    "spacings",
    "shapes_after_crop",
    "foreground_intensity_properties_per_channel",
    "median_relative_size_after_cropping",
)
PATH = re.compile(
    r"(^|[\s\"'`=(\[{,;]|:(?!//))(file:|~|[A-Za-z]:)?[/\\]+[^\s/\\]"
)  # the start of an absolute path in a text


@dataclass
class SharedContent:
    """Takes the content of files, and returns what is handed over; remembers what was left out.

    Args:
        stock: The network is nnU-Net's own, so that the settings of nnunet_ext have no use.
        plans_name: Name of the plans.
        left_out: What was left out, such as ``plans.json: init_from``.
    """

    stock: bool
    plans_name: str
    left_out: set[str] = field(default_factory=set)

    def plans(self, plans: Mapping[str, Any]) -> dict[str, Any]:
        """Return plans without where they came from, without paths, and for a stock network without our blocks."""
        found = self._plans(plans, "plans.json") | {"plans_name": self.plans_name}
        configurations = found.get("configurations", {})
        found["configurations"] = {name: self._plans(each, "plans.json") for name, each in configurations.items()}
        return found

    def dataset_json(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """Return what nnU-Net needs of a dataset.json, and what describes the data; lists of cases are neither."""
        found = self._only(description, (*NEEDED, READER, *TEXTS), "dataset.json")
        texts = self._without_paths({key: found.pop(key) for key in TEXTS if key in found}, "dataset.json")
        return found | texts

    def fingerprint(self, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
        """Return nnU-Net's own entries of a fingerprint, which name no case."""
        return self._only(fingerprint, OF_FINGERPRINT, "dataset_fingerprint.json")

    def summary(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Return the scores of a ``validation/summary.json``; those of cases without the names of their files."""
        cases: Sequence[Mapping[str, Any]] = summary.get("metric_per_case", [])
        for case in cases:
            self.left_out |= {f"summary.json: {key}" for key in case if key != "metrics"}
        found = {key: summary[key] for key in ("foreground_mean", "mean") if key in summary}
        return found | {"metric_per_case": [{"metrics": case["metrics"]} for case in cases]}

    def checkpoint(self, checkpoint: Mapping[str, Any], trainer: str, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return what prediction, and a training that starts from these weights, need of a checkpoint.

        Args:
            checkpoint: What nnU-Net or a trainer of ours wrote.
            trainer: Name of the trainer that reads it.
            weights: Those of its network.
        """
        arguments = checkpoint["init_args"]
        kept: dict[str, Any] = {key: arguments[key] for key in ("configuration", "fold") if key in arguments}
        if "plans" in arguments:
            kept["plans"] = self.plans(plain_json(arguments["plans"]))
        if "dataset_json" in arguments:
            kept["dataset_json"] = self.dataset_json(plain_json(arguments["dataset_json"]))
        found = {
            "network_weights": dict(weights),
            "trainer_name": trainer,
            "init_args": kept,
            "inference_allowed_mirroring_axes": checkpoint.get("inference_allowed_mirroring_axes"),
            "current_epoch": checkpoint.get("current_epoch"),
            "exported_from": {"trainer": checkpoint["trainer_name"]},
        }
        self.left_out |= {f"checkpoint: {key}" for key in checkpoint if key not in found}
        self.left_out |= {f"checkpoint: init_args.{key}" for key in arguments if key not in kept}
        return found

    def _plans(self, plans: Mapping[str, Any], place: str) -> dict[str, Any]:
        unwanted = (ORIGIN, KNOBS, COLLECTION) if self.stock else (ORIGIN,)
        found = self._only(plans, [key for key in plans if key not in unwanted], place)
        for block, key in ((KNOBS, "init_from"), (COLLECTION, "manifest")):
            if isinstance(inside := found.get(block), Mapping):
                found[block] = self._only(inside, [name for name in inside if name != key], f"{place}: {block}")
        return self._without_paths(found, place)

    def _only(self, content: Mapping[str, Any], keys: Sequence[str], place: str) -> dict[str, Any]:
        self.left_out |= {f"{place}: {key}" for key in content if key not in keys}
        return {key: value for key, value in content.items() if key in keys}

    def _without_paths(self, value: Any, place: str) -> Any:
        """Return a value of JSON without the texts that name a path, anywhere in it."""
        if isinstance(value, Mapping):
            return {
                key: self._without_paths(each, f"{place}: {key}")
                for key, each in value.items()
                if not self._is_path(each, f"{place}: {key}")
            }
        if isinstance(value, list):
            return [self._without_paths(each, place) for each in value if not self._is_path(each, place)]
        return value

    def _is_path(self, value: Any, place: str) -> bool:
        found = isinstance(value, str) and PATH.search(value) is not None
        if found:
            self.left_out.add(place)
        return found
