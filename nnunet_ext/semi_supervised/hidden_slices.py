"""Dense labels of which every k-th slice is kept, to measure what few annotated slices are worth."""

from __future__ import annotations

import io
from collections.abc import Collection
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnunet_ext.data.case_check import read_label
from nnunet_ext.data.companion_files import remove_made_up_spacing
from nnunet_ext.data.dataset_json import IGNORE
from nnunet_ext.data.image_reader import find_reader
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.files.label_file import write_label_map

KEY = "kept_slices"  # of dataset.json: {"every": 4, "axis": 0}


class KeptSlices(NamedTuple):
    """Slices that stay labelled: 0, k, 2k ... and the last one.

    Args:
        every: k.
        axis: Axis of the slices, in the order of nnU-Net's spacings.
    """

    every: int
    axis: int = 0


def with_ignore_label(source: RawDataset) -> dict[str, Any]:
    """Return the labels of dataset.json with an ignore label, the highest one if there was none."""
    labels = dict(source.description["labels"])
    return labels | {IGNORE: labels.get(IGNORE, max(source.legal_labels()) + 1)}


def write_kept_slices(source: RawDataset, place: Path, cases: Collection[str], slices: KeptSlices) -> None:
    """Write label files in which all slices but some are ignored; those that are newer than their source stay.

    Args:
        source: The dataset with dense labels.
        place: The new dataset's folder; label files go to its ``labelsTr``.
        cases: Names of the cases.
        slices: Those that are kept.

    Raises:
        UserError: A label file is damaged, or has too few slices along the axis.
    """
    wanted = [case for case in source.cases() if case.name in cases]
    reader, legal = find_reader(source.description, wanted[0].images[0]), source.legal_labels()
    ignore, folder = with_ignore_label(source)[IGNORE], place / "labelsTr"
    folder.mkdir(exist_ok=True)
    for case in wanted:
        file = folder / f"{case.name}{source.file_ending}"
        assert case.label is not None
        if file.is_file() and file.stat().st_mtime >= case.label.stat().st_mtime:
            continue
        with redirect_stdout(io.StringIO()):  # nnU-Net's readers print
            labels, properties = read_label(case.label, reader, legal)
        found = np.moveaxis(labels[0].astype(np.uint16), slices.axis, 0)
        if len(found) <= slices.every:
            raise UserError(
                f"{case.label}: expected more than {slices.every} slices along axis {slices.axis}, found {len(found)}. "
                f"Choose another --axis or a smaller --every_slice, and delete {place}."
            )
        kept = [*range(0, len(found), slices.every), len(found) - 1]
        hidden = np.full_like(found, ignore)
        hidden[kept] = found[kept]
        write_label_map(reader, np.moveaxis(hidden, 0, slices.axis), file, properties)
        remove_made_up_spacing(case.label, file)
