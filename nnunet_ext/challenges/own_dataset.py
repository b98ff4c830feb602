"""Any dataset with a dataset.json, measured by chosen metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnunet_ext.challenges.challenge import READER, Challenge, Measure, Structure, columns_by_metric
from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.data.dataset_json import IGNORE
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import EmptyRule, Metric, diagonal


def own_dataset(
    dataset_json: Mapping[str, Any],
    metrics: Sequence[Metric],
    *,
    count_both_empty: bool,
    where: str = "dataset.json",
) -> Challenge:
    """Return what is measured of a dataset: each metric of each class or region.

    Where just one of both masks is empty, Dice and surface Dice are 0, and distances are the image's diagonal.

    Args:
        dataset_json: With labels as numbers.
        metrics: What is measured.
        count_both_empty: Whether two empty masks count as equal (Dice 1, distance 0), or are left out.
        where: Path of dataset.json, for messages.

    Raises:
        UserError: It has no class besides background, or no ending of files.

    Example:
        >>> from nnunet_ext.evaluation.mask_metrics import parse_metrics
        >>> labels = {"background": 0, "liver": 1, "tumor": 2}
        >>> metrics = parse_metrics("dice,nsd@2mm")
        >>> own_dataset({"labels": labels, "file_ending": ".nii.gz"}, metrics, count_both_empty=False).columns
        ('liver dice', 'tumor dice', 'liver nsd@2mm', 'tumor nsd@2mm')
    """
    structures = tuple(
        Structure(
            name,
            value if isinstance(value, tuple) else (value,),
            tuple(Measure(f"{name} {each.name}", each, _rule(each, count_both_empty)) for each in metrics),
        )
        for name, value in foreground_classes(dataset_json).items()
    )
    ending, reader = dataset_json.get("file_ending"), dataset_json.get(READER)
    if not structures:
        raise UserError(f"{where}: expected a class besides background, found none. Add it to 'labels'.")
    if not isinstance(ending, str) or not ending.startswith("."):
        raise UserError(f"{where}: expected 'file_ending' to start with a dot, found {ending!r}. Write \".nii.gz\".")
    ignore = dataset_json["labels"].get(IGNORE)
    return Challenge(
        name="custom",
        structures=structures,
        columns=columns_by_metric(structures),
        spacing_of="reference",
        ending=ending,
        ignore=ignore if ignore is None else int(ignore[0] if isinstance(ignore, list | tuple) else ignore),
        reader=reader if reader is None else str(reader),
    )


def _rule(metric: Metric, count_both_empty: bool) -> EmptyRule:
    if metric.larger_is_better:
        return EmptyRule(both=1.0 if count_both_empty else None, one=0.0)
    return EmptyRule(both=0.0 if count_both_empty else None, one=diagonal)
