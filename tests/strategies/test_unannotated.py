"""Classes that nobody annotated, from the preprocessed cases or from dataset.json."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from batchgenerators.utilities.file_and_folder_operations import write_pickle
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_ext.data.dataset_json import UNLABELLED
from nnunet_ext.errors import UserError
from nnunet_ext.strategies.unannotated import _own_values, occurring_classes, unannotated_in

CLASSES = {"liver": 1, "spleen": 2, "tumour": 3}
REGIONS = {"organ": (1, 2), "tumour": 2, "vessel": (3,)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Case a has a tumour, b liver and tumour; c, which is not trained with, all."""
    for case, there in {"a": (3,), "b": (1, 3), "c": (1, 2, 3)}.items():
        locations = {value: [[0, 1, 1, 1]] if value in there else [] for value in (1, 2, 3)}
        write_pickle({"class_locations": locations}, str(tmp_path / f"{case}.pkl"))
    return tmp_path


def test_no_training_case_has_them(folder):
    found = unannotated_in(["liver", "spleen"], CLASSES, {}, folder, ["a", "b"])
    assert found.names == found.of("a") == found.of("c") == {"spleen"}
    assert unannotated_in(["spleen"], CLASSES, {"annotated": {}}, folder, ["a", "c"]).names == set()
    assert unannotated_in(["liver", "spleen"], CLASSES, {}, folder, ["a"]).names == {"liver", "spleen"}
    assert unannotated_in([], CLASSES, {}, folder, ["a"]).names == set()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 2, 3], {"organ", "tumour", "vessel"}),
        ([2, 3], {"tumour", "vessel"}),  # the voxels of the organ are those of the tumour in it
        ([1, 3], {"organ", "vessel"}),
        ([], set()),
    ],
)
def test_regions_within_a_region(tmp_path, labels, expected):
    """As nnU-Net's preprocessing describes the cases; the second one lacks everything."""
    for case, values in {"a": labels, "b": []}.items():
        segmentation = np.zeros((1, 4, 8, 8), np.int8)
        segmentation[0, : len(values), 2:4, 2:4] = np.reshape(values, (-1, 1, 1))
        regions = [*REGIONS.values(), (-1, 0, 1, 2, 3)]
        locations = DefaultPreprocessor._sample_foreground_locations(segmentation, regions)
        whole = dict.fromkeys(("chunks", "blocks", "chunks_seg", "blocks_seg"), segmentation.shape)
        arrays = segmentation.astype(np.float32), segmentation, {"class_locations": locations}
        nnUNetDatasetBlosc2.save_case(*arrays, str(tmp_path / case), **whole)
    assert occurring_classes(REGIONS, tmp_path, ["b", "a"]) == expected


def test_a_region_that_smaller_ones_make_up():
    """It has no label of its own, so each of theirs counts."""
    assert _own_values([(1, 2), (1,), (2,)]) == {}
    assert _own_values([(1, 2, 3), (2, 3), (3,)]) == {(1, 2, 3): [1], (2, 3): [2]}


def test_dataset_json_says_it_case_by_case(folder):
    """A case that is not mentioned was annotated for all classes; what occurs does not count."""
    annotated = {"a": ["tumour"], "b": ["tumour", "liver"]}
    found = unannotated_in(["liver", "spleen"], CLASSES, {"annotated": annotated}, folder, ["a", "b", "c"])
    assert {case: set(found.of(case)) for case in "abc"} == {"a": {"liver", "spleen"}, "b": {"spleen"}, "c": set()}
    assert found.names == {"liver", "spleen"}
    assert found.everywhere == set()
    hidden = {"hidden_labels": {"d": "d.nii.gz"}, "annotated": {"d": ["tumour"]}}
    hidden |= {UNLABELLED: {"d": ["d.nii.gz"]}}  # a copy of nnunet_ext hide_labels: d has a label, but does not train
    assert unannotated_in(["liver"], CLASSES, hidden, folder, ["a"]).of("a") == set()


@pytest.mark.parametrize(
    ("annotated", "message"),
    [
        (["a"], "expected 'annotated' to be"),
        ({"x": ["liver"]}, "unknown case 'x'. Legal: a, b, c"),
        ({"a": "liver"}, "expected a list of classes for case 'a', got 'liver'"),
        ({"a": [["liver"]]}, "unknown class ['liver'] of case 'a'. Did you mean 'liver'"),
        ({"a": ["Liver"]}, "unknown class 'Liver' of case 'a'. Did you mean 'liver'"),
    ],
)
def test_mistakes_in_it(folder, annotated, message):
    with pytest.raises(UserError) as error:
        unannotated_in(["liver"], CLASSES, {"annotated": annotated}, folder, ["a"])
    assert message in str(error.value)
