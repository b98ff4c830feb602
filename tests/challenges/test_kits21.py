"""KiTS21: classes, tolerances, columns, files, and the mean over samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written_map import write_map

from nnunet_ext.challenges.evaluation import evaluate
from nnunet_ext.challenges.kits21 import kits21
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import EmptyRule

pytestmark = pytest.mark.smoke


def bar(value: int, *columns: int, shape: tuple[int, ...] = (3, 3, 12)) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[1, 1, list(columns)] = value
    return labels


def test_classes_tolerances_and_columns() -> None:
    challenge = kits21()
    found = [
        (each.name, each.labels, *(f"{m.column} {m.metric.name}" for m in each.measures))
        for each in challenge.structures
    ]
    assert found == [
        ("kidney_and_mass", (1, 2, 3), "Dice_kidney dice", "SD_kidney nsd@1.0330772532390826mm"),
        ("mass", (2, 3), "Dice_masses dice", "SD_masses nsd@1.1328796488598762mm"),
        ("tumor", (2,), "Dice_tumor dice", "SD_tumor nsd@1.1498198361434828mm"),
    ]
    assert challenge.columns == ("Dice_kidney", "Dice_masses", "Dice_tumor", "SD_kidney", "SD_masses", "SD_tumor")
    assert challenge.case_column == "caseID"
    assert challenge.spacing_of == "prediction"
    assert challenge.digits is None
    assert {measure.empty for measure in challenge.measures.values()} == {EmptyRule(both=1.0, one=0.0)}
    assert (challenge.table, kits21(majority=True).table) == ("evaluation_samples.csv", "evaluation.csv")


def test_the_mean_over_all_samples(tmp_path: Path) -> None:
    """Case 123, one kidney of 3 voxels and its neighbours: each annotation is in five of the 15 samples."""
    for annotation, columns in ((1, (1, 2, 3)), (2, (2, 3, 4)), (3, (5, 6, 7))):
        write_map(
            tmp_path / f"data/case_00123/segmentations/kidney_instance-1_annotation-{annotation}.nii.gz",
            bar(1, *columns).astype(np.float64),
        )
    write_map(tmp_path / "predictions/case_00123.nii.gz", bar(1, 1, 2, 3))
    found = evaluate(kits21(), tmp_path / "predictions", tmp_path / "data", show_progress=False)
    (case,) = found.scored
    assert case.references == 15
    assert case.values["Dice_kidney"] == pytest.approx((1 + 2 / 3 + 0) / 3, abs=1e-12)
    # neither has a mass
    assert [case.values[each] for each in ("Dice_masses", "Dice_tumor", "SD_masses", "SD_tumor")] == [1, 1, 1, 1]
    assert found.average == case.values


def test_a_mass_that_only_one_has_counts_0(tmp_path: Path) -> None:
    write_map(tmp_path / "data/case_00000/segmentations/kidney_instance-1_annotation-1.nii.gz", bar(1, 1, 2, 3))
    write_map(tmp_path / "predictions/case_00000.nii.gz", bar(3, 1, 2, 3))
    (case,) = evaluate(kits21(), tmp_path / "predictions", tmp_path / "data", show_progress=False).scored
    expected = {"Dice_kidney": 1, "Dice_masses": 0, "Dice_tumor": 1, "SD_kidney": 1, "SD_masses": 0, "SD_tumor": 1}
    assert case.values == expected


@pytest.mark.parametrize("name", ["aggregated_MAJ_seg.nii.gz", "segmentation.nii.gz"])
def test_majority_votes(tmp_path: Path, name: str) -> None:
    write_map(tmp_path / "data/case_00000" / name, bar(2, 1, 2, 3))
    write_map(tmp_path / "predictions/case_00000.nii.gz", bar(2, 2, 3, 4))
    (case,) = evaluate(kits21(majority=True), tmp_path / "predictions", tmp_path / "data", show_progress=False).scored
    assert case.references == 1
    assert case.values["Dice_tumor"] == pytest.approx(2 / 3, abs=1e-12)


def test_majority_votes_as_label_maps(tmp_path: Path) -> None:
    write_map(tmp_path / "labelsTr/case_00000.nii.gz", bar(2, 1, 2, 3))
    write_map(tmp_path / "predictions/case_00000.nii.gz", bar(2, 1, 2, 3))
    found = evaluate(kits21(majority=True), tmp_path / "predictions", tmp_path / "labelsTr", show_progress=False)
    assert found.average["Dice_tumor"] == 1


def test_label_maps_are_no_annotations(tmp_path: Path) -> None:
    write_map(tmp_path / "labelsTr/case_00000.nii.gz", bar(2, 1, 2, 3))
    with pytest.raises(
        UserError, match=r"expected folders such as case_00000/segmentations .*, or --majority, found none"
    ):
        kits21().references(tmp_path / "labelsTr")
