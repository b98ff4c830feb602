"""The hash changes with everything that preprocessing depends on, and with nothing else."""

import json
from pathlib import Path

import pytest

from nnunet_ext.data.preprocessed.data_hash import preprocessing_hash

PLANS = {"image_reader_writer": "SimpleITKIO", "transpose_forward": [0, 1, 2], "plans_name": "A"}
CONFIGURATION = {"spacing": [1.0, 2.0, 3.0], "normalization_schemes": ["CTNormalization"], "batch_size": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a dataset.json."""
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": 1}, "numTraining": 3}))
    return tmp_path


def test_what_does_not_count(folder):
    before = preprocessing_hash(folder, PLANS, CONFIGURATION)
    (folder / "dataset.json").write_text(json.dumps({"numTraining": 4, "labels": {"background": 0, "liver": 1}}))
    assert preprocessing_hash(folder, PLANS | {"plans_name": "B"}, CONFIGURATION | {"batch_size": 9}) == before


@pytest.mark.parametrize(
    ("of_plans", "of_configuration", "of_dataset"),
    [
        ({"transpose_forward": [1, 0, 2]}, {}, {}),
        ({"image_reader_writer": "NibabelIO"}, {}, {}),
        ({"foreground_intensity_properties_per_channel": {"0": {"mean": 2.0}}}, {}, {}),
        ({}, {"spacing": [1.0, 2.0, 4.0]}, {}),
        ({}, {"normalization_schemes": ["ZScoreNormalization"]}, {}),
        ({}, {"resampling_fn_data_kwargs": {"order": 1}}, {}),
        ({}, {}, {"labels": {"background": 0, "liver": 1, "ignore": 2}}),
        ({}, {}, {"labels": {"background": 0, "liver": [1]}, "regions_class_order": [1]}),
    ],
)
def test_what_counts(folder, of_plans, of_configuration, of_dataset):
    before = preprocessing_hash(folder, PLANS, CONFIGURATION)
    described = json.loads((folder / "dataset.json").read_text()) | of_dataset
    (folder / "dataset.json").write_text(json.dumps(described))
    assert preprocessing_hash(folder, PLANS | of_plans, CONFIGURATION | of_configuration) != before
