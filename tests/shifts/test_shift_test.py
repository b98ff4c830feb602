"""What is predicted and how it is scored, with a predictor that returns what it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from blobs import MODEL, SPACING, Blobs, write_blobs
from numpy.typing import NDArray

from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.prediction import Predictor
from nnunet_ext.shifts.held_out import HeldOut
from nnunet_ext.shifts.shift import Shift
from nnunet_ext.shifts.shift_test import shift_test


class Threshold:
    """Calls bright voxels of an image spleen, in the middle liver; keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[NDArray[Any], tuple[float, ...]]] = []

    def predict_array(self, image: NDArray[Any], spacing: tuple[float, ...]) -> NDArray[np.uint8]:
        self.given.append((image, spacing))
        return np.digitize(image[0], [100, 200]).astype(np.uint8)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return write_blobs(tmp_path)


def dices(blobs: Blobs, shifts: tuple[Shift, ...] = (), numbers: tuple[int, ...] = (0,)) -> tuple[Threshold, Any]:
    dataset = RawDataset.read(blobs.raw)
    cases = dataset.cases()
    held_out = HeldOut(blobs.root / MODEL, dataset, {"0": tuple(cases[number] for number in numbers)})
    predictor = Threshold()

    def predictor_of(fold: str) -> Predictor:
        assert fold == "0"
        return cast(Predictor, predictor)

    return predictor, dict(shift_test(held_out, predictor_of, shifts=shifts, show_progress=False))


def test_the_raw_image_is_shifted_before_it_is_predicted(blobs: Blobs) -> None:
    shift = Shift("inversion", 1.0)
    predictor, found = dices(blobs, (shift,))
    (image, spacing), (shifted, _) = predictor.given
    assert spacing == SPACING
    assert image[0].max() > 200
    np.testing.assert_array_equal(shifted, shift.of(image, SPACING, "case_00"))
    assert found["case_00"]["unshifted"] == {"liver": 1.0, "spleen": 1.0}
    assert found["case_00"]["inversion 1"] == {"liver": 1.0, "spleen": 0.0}


def test_a_class_counts_where_a_label_map_has_it(blobs: Blobs) -> None:
    blobs.change(0, lambda labels: np.where(labels == 2, 0, labels))
    _, found = dices(blobs)
    assert found["case_00"]["unshifted"] == {"liver": 1.0, "spleen": 0.0}


def test_ignored_voxels_do_not_count(blobs: Blobs) -> None:
    blobs.describe(labels={"background": 0, "liver": 1, "spleen": 2, "ignore": 3})
    blobs.change(0, lambda labels: np.where(labels == 2, 3, labels))
    _, found = dices(blobs)
    assert found["case_00"]["unshifted"] == {"liver": 1.0, "spleen": None}


def test_regions(blobs: Blobs) -> None:
    blobs.describe(labels={"background": 0, "both": [1, 2], "spleen": [2]}, regions_class_order=[1, 2])
    blobs.change(0, lambda labels: np.where(labels == 2, 1, labels))
    _, found = dices(blobs)
    assert found["case_00"]["unshifted"] == {"both": 1.0, "spleen": 0.0}


def test_classes_that_were_not_annotated_do_not_count(blobs: Blobs) -> None:
    blobs.describe(annotated={"case_00": ["liver"]})
    _, found = dices(blobs, numbers=(0, 1))
    assert [set(own["unshifted"]) for own in found.values()] == [{"liver"}, {"liver", "spleen"}]
