"""Planning of collections: one network, patch and batch size; everything else as stock nnU-Net plans each member."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
from nnunetv2.preprocessing.normalization.map_channel_name_to_normalization import channel_name_to_normalization_mapping
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.json_export import recursive_fix_for_json_export
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_ext.collection.collect.part import check_source_labels
from nnunet_ext.collection.manifest import Manifest, ManifestTask
from nnunet_ext.collection.members import read_manifest
from nnunet_ext.collection.planning.member_inputs import (
    FINGERPRINT,
    check_part_folds,
    copy_fingerprint,
    write_few_folds,
)
from nnunet_ext.collection.planning.pooled_fingerprint import pool_fingerprints
from nnunet_ext.collection.task_table import BLOCK, CONFIGURATION, SHARED, Task, TaskTable, member_plans_name
from nnunet_ext.data.dataset_json import is_collection
from nnunet_ext.data.preprocessed.data_hash import preprocessing_hash
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json, write_json


class CollectionPlanner:
    """Mix-in for planners of collections, left of a planner with ``ExtPlanner``.

    Each member keeps the target spacing, transposition, normalization and reader that the stock planner gives it.
    Patch, batch size and architecture are planned once, by the stock rules, from the median over the members of their
    transposed spacings and median shapes, the largest numbers of channels and classes, and the voxels of all members.

    The manifest may change two things. Spacing ``"one"``: the median, axis by axis, of the members' own target spacings
    for all of them; a task's ``"spacing"`` overrides it, ``overwrite_target_spacing`` overrides both. Normalization
    ``"one"``: members with the same schemes share intensity properties and masks (:func:`pool_fingerprints`); a task's
    ``"normalization"`` replaces its schemes.

    Plans are written for the collection and for every member (:mod:`nnunet_ext.collection.task_table`). An instance
    on a member is made by the one on its collection.
    """

    dataset_name: str
    dataset: dict[str, Any]
    dataset_json: dict[str, Any]
    dataset_fingerprint: dict[str, Any]
    raw_dataset_folder: str
    plans_identifier: str
    overwrite_target_spacing: Any
    plans: dict[str, Any] | None

    def __init__(self, dataset_name_or_id: str | int, **options: Any) -> None:
        self.table: TaskTable | None = None
        self._manifest: Manifest | None = None
        self._shared: dict[str, Any] | None = None
        name = maybe_convert_to_dataset_name(dataset_name_or_id)
        folder = Path(nnUNet_raw) / name
        description = read_json(folder / "dataset.json")
        if not is_collection(description):
            super().__init__(name, **options)  # type: ignore[call-arg]
            return
        self._manifest = read_manifest(folder)
        for task in self._manifest.tasks:
            check_source_labels(folder.parent / task.dataset)
            check_part_folds(task)
            copy_fingerprint(task)
        super().__init__(self._manifest.tasks[0].dataset, **options)  # type: ignore[call-arg]
        self._members = [self._member(task, options) for task in self._manifest.tasks]
        self.dataset_name, self.raw_dataset_folder = name, str(folder)
        self._settle_spacing()
        self._settle_normalization()
        tasks = tuple(map(_task, self._manifest.tasks, self._members))
        self.table = TaskTable(name, tasks, manifest=self._manifest.as_json())
        self.dataset_json = _description(description, self._members, self.table)
        self.dataset_fingerprint = pool_fingerprints(
            [member.dataset_fingerprint for member in self._members], [task.cases for task in self.table.tasks]
        )

    def plan_experiment(self) -> dict[str, Any]:
        """Plan the collection and write its plans and those of its members.

        Raises:
            UserError: The dataset is not a collection, or a member is 2D.
        """
        if self._shared is not None:
            return super().plan_experiment()  # type: ignore[misc]
        if self._manifest is None or self.table is None:
            raise UserError(
                f"{self.raw_dataset_folder}: expected a collection for {type(self).__name__}, found an ordinary "
                f"dataset. Make a collection with nnunet_ext collect, or take another planner."
            )
        plan = self._pooled_plan()
        for member, task in zip(self._members, self.table.tasks, strict=True):
            member.table = self.table.bound_to(task.name)
            member._shared = {key: plan[key] for key in SHARED}
            member.lowres_creation_threshold = 0  # never a 3d_lowres
            member.UNet_reference_val_3d = sys.maxsize  # the patch is known: no search
            with redirect_stdout(StringIO()):  # stock shows a 2d configuration, which is dropped
                member.plan_experiment()
            write_few_folds(Path(nnUNet_preprocessed) / member.dataset_name, list(member.dataset))
        self._complete_table()
        self._write_description()
        self.plans = self._collection_plans(plan)
        self.save_plans(self.plans)
        return self.plans

    def get_plans_for_configuration(self, spacing: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Stock plan; a member's has the common patch, batch size and architecture."""
        if self._shared is None:
            return super().get_plans_for_configuration(spacing, *args, **kwargs)  # type: ignore[misc]
        if len(spacing) == 2:
            return {}
        plan = super().get_plans_for_configuration(spacing, *args, **kwargs)  # type: ignore[misc]
        return plan | deepcopy(self._shared)

    def save_plans(self, plans: dict[str, Any]) -> None:
        """Write plans with the one configuration that collections have and the task table."""
        assert self.table is not None
        plans["configurations"].pop("2d", None)
        plans[BLOCK] = self.table.as_json()
        super().save_plans(plans)  # type: ignore[misc]

    def _complete_table(self) -> None:
        """Record in the table, and so in all plans, what each member's preprocessing depends on."""
        assert self.table is not None
        folder, tasks = Path(nnUNet_preprocessed), []
        for member, task in zip(self._members, self.table.tasks, strict=True):
            plans = read_json(folder / task.dataset / f"{member.plans_identifier}.json")
            digest = preprocessing_hash(folder / task.dataset, plans, plans["configurations"][CONFIGURATION])
            tasks.append(replace(task, preprocessing=digest))
        self.table = replace(self.table, tasks=tuple(tasks))
        for member, task in zip(self._members, tasks, strict=True):
            member.table = self.table.bound_to(task.name)
            with redirect_stdout(StringIO()):
                member.save_plans(member.plans)

    def _member(self, task: ManifestTask, options: dict[str, Any]) -> Any:
        assert self._manifest is not None
        name = member_plans_name(self.plans_identifier, self._manifest.collection)
        return type(self)(task.dataset, **(options | {"plans_name": name}))

    def _settle_spacing(self) -> None:
        """Give members a target spacing that differs from their own."""
        assert self._manifest is not None
        if self.overwrite_target_spacing is not None:
            return
        free = []
        for member, task in zip(self._members, self._manifest.tasks, strict=True):
            if task.spacing is not None:
                member.overwrite_target_spacing = list(task.spacing)
            else:
                free.append(member)
        if self._manifest.spacing == "one" and free:
            one = np.median([member.determine_fullres_target_spacing() for member in free], 0).tolist()
            for member in free:
                member.overwrite_target_spacing = one

    def _settle_normalization(self) -> None:
        """Give members schemes, intensity properties and masks that differ from their own."""
        assert self._manifest is not None
        names = {scheme.__name__: name for name, scheme in channel_name_to_normalization_mapping.items()}
        groups: dict[tuple[str, ...], list[Any]] = {}
        for member, task in zip(self._members, self._manifest.tasks, strict=True):
            if task.normalization is not None:  # stock code derives the scheme from a channel's name
                member.dataset_json["channel_names"] = {str(i): names[n] for i, n in enumerate(task.normalization)}
            schemes, _ = member.determine_normalization_scheme_and_whether_mask_is_used_for_norm()
            groups.setdefault(tuple(schemes), []).append(member)
        if self._manifest.normalization == "own":
            return
        for group in groups.values():
            pooled = pool_fingerprints([m.dataset_fingerprint for m in group], [len(m.dataset) for m in group])
            for key in ("foreground_intensity_properties_per_channel", "median_relative_size_after_cropping"):
                for member in group:
                    member.dataset_fingerprint[key] = deepcopy(pooled[key])

    def _geometry(self) -> tuple[np.ndarray, np.ndarray]:
        """Target spacing and median shape of a member, transposed."""
        forward, _ = self.determine_transpose()  # type: ignore[attr-defined]
        spacing = self.determine_fullres_target_spacing()  # type: ignore[attr-defined]
        found = self.dataset_fingerprint
        pairs = zip(found["shapes_after_crop"], found["spacings"], strict=True)
        shapes = [compute_new_shape(*pair, spacing) for pair in pairs]
        shape = np.median(shapes, 0)[forward]
        if shape[0] == 1:
            raise UserError(
                f"{self.raw_dataset_folder}: expected 3D images (a collection has the one configuration "
                f"{CONFIGURATION}), found single slices. Remove the task from the manifest."
            )
        return spacing[forward], shape

    def _network_taken_over(self) -> dict[str, Any]:
        """Patch, batch size and architecture of the collection that the manifest names, from plans of the same name."""
        assert self._manifest is not None
        if self._manifest.network_of is None:
            return {}
        file = Path(nnUNet_preprocessed) / self._manifest.network_of / f"{self.plans_identifier}.json"
        if not file.is_file():
            raise UserError(
                f"{file}: expected the plans whose network {self.dataset_name} takes over ('network_of'), found no "
                f"file. Plan that collection with the same -pl and plans name, or remove 'network_of'."
            )
        return {key: read_json(file)["configurations"][CONFIGURATION][key] for key in SHARED}

    def _pooled_plan(self) -> dict[str, Any]:
        geometries = [member._geometry() for member in self._members]
        spacing, shape = (np.median(values, 0) for values in zip(*geometries, strict=True))
        voxels = sum(
            float(np.prod(shape)) * member.dataset_json["numTraining"]
            for (_, shape), member in zip(geometries, self._members, strict=True)
        )
        identifier = self.generate_data_identifier(CONFIGURATION)  # type: ignore[attr-defined]
        plan = self.get_plans_for_configuration(spacing, shape, identifier, voxels, {})
        return plan | {"batch_dice": False} | self._network_taken_over()

    def _collection_plans(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Plans in the form of the stock planner; axes are those after each member's transposition."""
        found = self.dataset_fingerprint
        return {
            "dataset_name": self.dataset_name,
            "plans_name": self.plans_identifier,
            "original_median_spacing_after_transp": [float(i) for i in np.median(found["spacings"], 0)],
            "original_median_shape_after_transp": [round(i) for i in np.median(found["shapes_after_crop"], 0)],
            "image_reader_writer": self._members[0].determine_reader_writer().__name__,
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "configurations": {CONFIGURATION: plan},
            "experiment_planner_used": type(self).__name__,
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": found["foreground_intensity_properties_per_channel"],
        }

    def _write_description(self) -> None:
        """Write what stock code requires in the preprocessed folder of a training dataset."""
        folder = Path(nnUNet_preprocessed) / self.dataset_name
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("dataset.json", self.dataset_json), (FINGERPRINT, self.dataset_fingerprint)):
            recursive_fix_for_json_export(content)
            write_json(folder / name, content)


def _task(task: ManifestTask, member: Any) -> Task:
    labels = LabelManager(member.dataset_json["labels"], member.dataset_json.get("regions_class_order"))
    heads, channels = labels.num_segmentation_heads, len(_channel_names(member))
    return Task(task.name, task.dataset, channels, heads, len(member.dataset), task.weight)


def _channel_names(member: Any) -> dict[str, str]:
    return member.dataset_json["channel_names" if "channel_names" in member.dataset_json else "modality"]


def _description(manifest: dict[str, Any], members: list[Any], table: TaskTable) -> dict[str, Any]:
    """The manifest, and stock's keys as large as the largest member has them."""
    return manifest | {
        "channel_names": max(map(_channel_names, members), key=len),
        "labels": {"background": 0} | {f"class {number}": number for number in range(1, table.max_heads)},
        "numTraining": sum(task.cases for task in table.tasks),
        "file_ending": members[0].dataset_json["file_ending"],
    }
