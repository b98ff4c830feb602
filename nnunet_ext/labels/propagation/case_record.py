"""What was done to each case: a line of a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class CaseRecord:
    """What was done to one case. Shares are of all voxels; resampled: to the target spacing that nnU-Net would plan.

    Args:
        case: Its name.
        axis: Axis along which it is annotated, in the order of nnU-Net's spacings; None: no slice is.
        annotated_slices: How many slices are annotated.
        largest_gap: Largest distance of two annotated slices, in slices.
        filled_voxels: Ignored before, not now.
        ignored_voxels: Ignored now.
        share_before: Annotated voxels of the source.
        share_before_resampled: What is left of them.
        share: Annotated and filled voxels.
        share_resampled: What is left of them.
        spacing: Voxel size along the axis in mm; None without an axis.
    """

    case: str
    axis: int | None
    annotated_slices: int
    largest_gap: int
    filled_voxels: int
    ignored_voxels: int
    share_before: float
    share_before_resampled: float
    share: float
    share_resampled: float
    spacing: float | None

    @property
    def fades(self) -> bool:
        """Whether resampling erases more than half of what is annotated and filled, slice by slice."""
        return self.axis is not None and self.share_resampled < self.share / 2


def table(records: Sequence[CaseRecord]) -> list[list[str]]:
    """Return the records as words, a header first."""
    names = [field.name for field in fields(CaseRecord)]
    return [names, *([_word(value) for value in asdict(record).values()] for record in records)]


def csv_table(records: Sequence[CaseRecord]) -> str:
    """Return the records as CSV with a header."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(table(records))
    return stream.getvalue()


def safe_spacing(records: Sequence[CaseRecord], planned: Sequence[float]) -> tuple[float, ...] | None:
    """Return the target spacing to plan with so that no annotated slice is lost; None if the planned one is good.

    It is the finest of the images' own along each axis along which cases are annotated: slices that are as thick as
    before, or thinner, keep their labels.

    Args:
        records: Of all cases.
        planned: The target spacing that nnU-Net would plan (D, H, W), in mm.
    """
    if not any(record.fades for record in records):
        return None
    found = list(planned)
    for axis in range(len(found)):
        native = [
            record.spacing
            for record in records
            if record.axis == axis and record.spacing is not None and record.share < 1
        ]
        found[axis] = min([found[axis], *native])
    return tuple(found)


def _word(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
