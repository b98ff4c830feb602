"""One case: rules for empty masks, the voxel size that counts, what is missing, voxels to ignore."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from written_map import write_map

from nnunet_ext.challenges.case_masks import CaseMasks
from nnunet_ext.challenges.challenge import Challenge
from nnunet_ext.challenges.kipa22 import kipa22
from nnunet_ext.challenges.kits21 import kits21
from nnunet_ext.challenges.matched_cases import MatchedCase
from nnunet_ext.challenges.own_dataset import own_dataset
from nnunet_ext.challenges.scored_case import ScoredCase, score_case
from nnunet_ext.challenges.segrap2023 import segrap2023
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import parse_metrics

pytestmark = pytest.mark.smoke
LABELS = {"background": 0, "a": 1, "b": 2}
ALL = "dice,hd95,nsd@2mm"


def labels(*values: int) -> np.ndarray:
    found = np.zeros((3, 3, 8), np.uint8)
    found[1, 1, : len(values)] = values
    return found


def own(metrics: str = ALL, *, count_both_empty: bool = False, **also: Any) -> Challenge:
    description = {"labels": LABELS | also, "file_ending": ".nii.gz"}
    return own_dataset(description, parse_metrics(metrics), count_both_empty=count_both_empty)


def score(
    tmp_path: Path,
    challenge: Challenge,
    prediction: np.ndarray | None,
    reference: np.ndarray,
    missing: str = "error",
    spacings: Sequence[Sequence[float]] = ((2.0, 1.0, 1.0), (2.0, 1.0, 1.0)),
) -> ScoredCase:
    file = None if prediction is None else write_map(tmp_path / "predicted.nii.gz", prediction, spacings[0])
    case = MatchedCase("case", file, write_map(tmp_path / "truth.nii.gz", reference, spacings[1]))
    return score_case(case, challenge, SimpleITKIO(), missing)


def test_classes_of_a_dataset(tmp_path: Path) -> None:
    """Class a: two of three voxels in common; class b: in neither."""
    found = score(tmp_path, own(), labels(0, 1, 1), labels(0, 1, 1, 1))
    assert found.values == pytest.approx(
        {"a dice": 0.8, "b dice": None, "a hd95": 0.8, "b hd95": None, "a nsd@2mm": 1.0, "b nsd@2mm": None}
    )
    assert (found.references, found.missing) == (1, ())


def test_a_class_that_only_one_has(tmp_path: Path) -> None:
    found = score(tmp_path, own(), labels(2), labels(1)).values
    assert found["a dice"] == found["b dice"] == found["a nsd@2mm"] == found["b nsd@2mm"] == 0
    assert found["a hd95"] == found["b hd95"] == pytest.approx((4**2 + 2**2 + 7**2) ** 0.5, abs=1e-9)


def test_two_empty_masks_may_count_as_equal(tmp_path: Path) -> None:
    found = score(tmp_path, own(count_both_empty=True), labels(1), labels(1)).values
    assert [found[f"b {name}"] for name in ("dice", "hd95", "nsd@2mm")] == [1, 0, 1]


def test_a_missing_prediction_is_worse_than_an_empty_one(tmp_path: Path) -> None:
    """Where both are empty, it does not count as equal."""
    found = score(tmp_path, own(count_both_empty=True), None, labels(1), "worst").values
    assert [found[f"{name} dice"] for name in "ab"] == [0, 0]
    assert found["a hd95"] == found["b hd95"] == pytest.approx(69**0.5, abs=1e-9)
    assert set(score(tmp_path, kits21(majority=True), None, labels(1), "worst").values.values()) == {0.0}
    assert set(score(tmp_path, segrap2023("gtv"), None, labels(1), "worst").values.values()) == {0.0}
    kipa = score(tmp_path, kipa22(), None, labels(1), "worst").values
    assert kipa["DSC_vein"] == kipa["DSC_tumor"] == 0
    assert kipa["HD_tumor"] == pytest.approx(69**0.5, abs=1e-9)


def test_voxels_to_ignore(tmp_path: Path) -> None:
    """Class a would have a Dice of 2 x 2 / 7 with the ignored voxels, of 2 x 2 / 4 without."""
    found = score(tmp_path, own(ignore=3), labels(1, 1, 1, 1, 1), labels(1, 1, 3, 3, 3)).values
    assert found["a dice"] == 1


def test_a_prediction_has_no_label_to_ignore(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"predicted\.nii\.gz: expected labels 0, 1, 2, found 3"):
        score(tmp_path, own(ignore=3), labels(1, 3), labels(1, 3))


def test_another_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"predicted\.nii\.gz: expected the voxel grid of .*truth\.nii\.gz, found voxels"
    ):
        score(tmp_path, own(), labels(1), labels(1), spacings=((2, 1, 1.1), (2, 1, 1)))
    with pytest.raises(
        UserError, match=r"expected the voxel grid of .*found 8 x 3 x 2 voxels, the other has 8 x 3 x 3"
    ):
        score(tmp_path, own(), labels(1)[:2], labels(1))


@pytest.mark.parametrize(("of", "expected"), [("prediction", 1.0), ("reference", 0.5)])
def test_whose_voxel_size_counts(tmp_path: Path, of: str, expected: float) -> None:
    """Voxels a step apart; headers may round it so that it is just below or above the tolerance."""
    challenge = replace(own("nsd@1mm"), spacing_of=of)
    one, other = np.zeros((2, 4, 3, 3), np.uint8)
    one[1, 1, 1] = other[2, 1, 1] = 1
    found = score(tmp_path, challenge, one, other, spacings=((1.0, 2.0, 2.0), (1.000001, 2.0, 2.0)))
    assert found.values["a nsd@1mm"] == pytest.approx(expected, abs=1e-6)


def test_the_mean_over_references_is_rounded_once(tmp_path: Path) -> None:
    class Several(Challenge):
        def read_references(self, path: Path, reader: Any) -> Iterator[CaseMasks]:
            for _ in range(2):
                yield from super().read_references(path, reader)
            other = write_map(path.with_name("other.nii.gz"), labels(0, 0, 0, 1))
            yield from super().read_references(other, reader)

    challenge = Several(**(vars(own("dice")) | {"digits": 4}))
    found = score(tmp_path, challenge, labels(1, 1, 1), labels(0, 1, 1))
    assert found.references == 3
    assert found.values == {"a dice": round(1.6 / 3, 4), "b dice": None}
