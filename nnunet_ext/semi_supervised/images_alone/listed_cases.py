"""Unlabelled images, listed where nnU-Net looks for training cases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.data.same_images import raw_folder
from nnunet_ext.semi_supervised.raw_images import find_unlabelled

LABEL = "label"


class ListedCases:
    """Mix-in, left of nnU-Net's planners and fingerprint extractors: the unlabelled images are the training cases.

    Both read dataset.json into ``dataset_json``, then ask it for the training cases. What they find there is completed:
    nnU-Net's keys ``dataset`` and ``numTraining`` are those of the unlabelled images, whose label files do not exist;
    and there is a class besides the background, so that a network of that size is planned. The file stays as it is.
    """

    dataset_name: str
    _completed: Mapping[str, Any]

    @property
    def raw(self) -> Path:
        """The dataset's folder in nnUNet_raw."""
        return raw_folder() / self.dataset_name

    @property
    def dataset_json(self) -> Mapping[str, Any]:
        """The completed content of dataset.json."""
        return self._completed

    @dataset_json.setter
    def dataset_json(self, _: Mapping[str, Any]) -> None:
        description, cases = RawDataset.read(self.raw).description, find_unlabelled(self.raw)
        labels = description["labels"]
        self._completed = description | {
            "labels": labels if len(labels) > 1 else labels | {"foreground": 1},
            "numTraining": len(cases),
            "dataset": {case.name: {"images": list(map(str, case.images)), LABEL: case.name} for case in cases},
        }
