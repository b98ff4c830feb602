"""Propagate the labels of one case, from file to file."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.data.case_check import knows_spacing, read_label
from nnunet_ext.data.companion_files import remove_made_up_spacing
from nnunet_ext.data.dataset_json import IGNORE
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_reader import read_image
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.labels.propagation.annotated_slices import annotated_slices, annotation_axis
from nnunet_ext.labels.propagation.case_record import CaseRecord
from nnunet_ext.labels.propagation.propagate import Rule, propagate
from nnunet_ext.labels.propagation.structures import Structures
from nnunet_ext.labels.propagation.surviving_share import annotated_share, surviving_share

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter


@dataclass(frozen=True)
class Propagation:
    """What is to be done with a dataset.

    Args:
        source: A dataset with an ignore label.
        rule: How labels are propagated.
        axis: Axis along which slices are annotated, in the order of nnU-Net's spacings; None: found case by case.
    """

    source: RawDataset
    rule: Rule
    axis: int | None = None

    def check(self) -> None:
        """Refuse a dataset in which nothing says what is not annotated.

        Raises:
            UserError: It has no ignore label.
        """
        if IGNORE not in self.source.description["labels"]:
            highest = max(self.source.legal_labels())
            raise UserError(
                f"{self.source.file}: expected an ignore label, found none: without it, slices that nobody annotated "
                f'look like slices without a structure. Add "ignore": {highest + 1} to the labels, and write '
                f"{highest + 1} into all voxels that are not annotated."
            )


@dataclass(frozen=True)
class CaseJob:
    """What a process needs to know to do the cases of a dataset, one by one.

    Args:
        propagation: What is to be done.
        reader: nnU-Net's reader of its files.
        legal: Values that a label file may hold.
        target: Target spacing for the shares after resampling, in mm (D, H, W); only :meth:`run` needs it.
        place: The new dataset's folder, which has a folder ``labelsTr``; None: write nothing.
    """

    propagation: Propagation
    reader: BaseReaderWriter
    legal: tuple[int, ...]
    target: tuple[float, ...] = ()
    place: Path | None = None

    def grid(self, case: Case) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Return a case's shape (D, H, W) and spacing in mm.

        Raises:
            UserError: Its label file is damaged.
        """
        labels, properties = self._read(case)
        return labels.shape, tuple(properties["spacing"])

    def run(self, case: Case) -> CaseRecord:
        """Propagate one label map, and write it if it has a place.

        Raises:
            UserError: Its label file is damaged.
        """
        labels, properties = self._read(case)
        spacing, rule = tuple(properties["spacing"]), self.propagation.rule
        description = self.propagation.source.description
        ignore = description["labels"][IGNORE]
        axis = self.propagation.axis
        if axis is None:
            axis = annotation_axis(labels == ignore, rule.annotated_share)
        found, annotated = labels, np.zeros(0, np.intp)
        if axis is not None:
            annotated = annotated_slices(labels == ignore, axis, rule.annotated_share)
            structures = Structures.of(description["labels"], description.get("regions_class_order"))
            found = propagate(labels, structures, ignore, axis, spacing, rule)
        self._write(case, found, properties)
        before, after = int((labels == ignore).sum()), int((found == ignore).sum())
        share = partial(surviving_share, ignore=ignore, spacing=spacing, target=self.target)
        return CaseRecord(
            case.name,
            axis if len(annotated) else None,
            len(annotated),
            int(np.diff(annotated).max(initial=0)),
            before - after,
            after,
            annotated_share(labels, ignore),
            share(labels) if before else 1.0,
            annotated_share(found, ignore),
            share(found) if after else 1.0,
            float(spacing[axis]) if axis is not None and len(annotated) else None,
        )

    def _read(self, case: Case) -> tuple[np.ndarray, dict]:
        assert case.label is not None
        with redirect_stdout(io.StringIO()):  # nnU-Net's readers print
            label, properties = read_label(case.label, self.reader, self.legal)
            if not knows_spacing(case.label):
                properties = properties | {"spacing": read_image(self.reader, case.images[0])[1]["spacing"]}
        return label[0].astype(np.uint16), properties

    def _write(self, case: Case, labels: np.ndarray, properties: dict) -> None:
        if self.place is None:
            return
        assert case.label is not None
        target = self.place / "labelsTr" / f"{case.name}{self.propagation.source.file_ending}"
        self.reader.write_seg(labels, str(target), properties)
        remove_made_up_spacing(case.label, target)
