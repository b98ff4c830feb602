"""The label of one case, corrected and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_ext.data.case_check import read_label
from nnunet_ext.data.companion_files import spacing_file
from nnunet_ext.data.image_reader import planned_reader
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.files.label_file import write_label_map
from nnunet_ext.files.link import link
from nnunet_ext.labels.suspects.case_measures import confident
from nnunet_ext.labels.suspects.correction import corrected
from nnunet_ext.labels.suspects.predicted_case import PredictedCase


@dataclass(frozen=True)
class Correcting:
    """What all cases share; a process gets it with the function.

    Args:
        description: dataset.json of the source, with labels as numbers.
        plans: They name nnU-Net's reader and writer.
        temperatures: By fold.
        tau: From which probability on a voxel is confidently predicted.
        ignore: What its label becomes; None: what is predicted.
        folder: Where the label is written.
    """

    description: Mapping[str, Any]
    plans: Mapping[str, Any]
    temperatures: Mapping[int, float]
    tau: float
    ignore: int | None
    folder: Path

    def write(self, job: tuple[PredictedCase, tuple[int, ...]]) -> tuple[str, dict[tuple[int, int], int]]:
        """Write the label of a case, unless nothing changes.

        Args:
            job: The case, and the labels of its suspect classes.

        Returns:
            Its name, and how many voxels of which label became which.

        Raises:
            UserError: A file is damaged, or there are no probabilities.
        """
        case, flagged = job
        if case.probabilities is None or case.fold not in self.temperatures:
            raise UserError(
                f"{case.prediction}: expected probabilities (.npz) beside it, without which no voxel is confident, "
                f"found none. Validate fold {case.fold} again with --val --npz, and run suspect_labels again."
            )
        reader = planned_reader(self.plans)
        pair = case.read(self.description, reader, probabilities=True)
        stored, properties = read_label(case.label, reader, RawDataset(Path(), dict(self.description)).legal_labels())
        before = stored[0].astype(np.int32)
        sure = confident(pair, self.temperatures[case.fold], self.tau)
        assert sure is not None  # there are probabilities
        found = corrected(pair.labels, pair.prediction, sure & pair.counts, flagged, ignore=self.ignore)
        changed = found != pair.labels
        after = np.where(changed, found, before)
        if not changed.any():
            return case.name, {}
        target = self.folder / f"{case.name}{self.description['file_ending']}"
        kind = np.uint8 if int(after.max()) < 256 else np.uint16
        write_label_map(reader, after.astype(kind), target, properties)
        _link_spacing(case.label, target)
        pairs, counts = np.unique(np.stack([before[changed], after[changed]]), axis=1, return_counts=True)
        return case.name, {(int(a), int(b)): int(n) for (a, b), n in zip(pairs.T, counts, strict=True)}


def _link_spacing(source: Path, target: Path) -> None:
    """What is beside a ``.tif``; a writer may have put its own there."""
    file, to = spacing_file(source, label=True), spacing_file(target, label=True)
    if file is None or to is None:
        return
    to.unlink(missing_ok=True)  # it says 1 mm, where the source says nothing
    if file.is_file():
        link(file, to)
