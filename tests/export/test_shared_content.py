"""Files of a model without what names a path or a case."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from nnunet_ext.export.shared_content import PATH, SharedContent

PLANS: dict[str, Any] = {
    "plans_name": "LitePlans",
    "dataset_name": "Dataset004_Hippocampus",
    "fine_tuned_from": {"model": "/data/source.zip"},
    "nnunet_ext": {"format": 1, "init_from": "source.pth", "ba_net": {"boundary_width": 5}, "seed": 0},
    "collection": {"task": "liver", "manifest": {"tasks": {}}},
    "notes": ["planned in /home/anna", "3 mm"],
    "configurations": {
        "2d": {"spacing": [1.0, 1.0], "nnunet_ext": {"init_from": "2d.pth"}},
        "3d_fullres": {"inherits_from": "2d", "cache": "C:\\data", "batch_size": 2},
    },
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/home/anna", True),
        ("~/scans", True),
        ("~anna/scans", False),
        ("C:\\scans", True),
        ("\\\\server\\scans", True),
        ("from /mnt/scans", True),
        ("file:///mnt/scans", True),
        ("('/mnt/scans')", True),
        ("https://zenodo.org/records/1", False),
        ("MR/CT and 1 / 2", False),
        ("CC BY-SA 4.0", False),
        ("", False),
    ],
)
def test_what_is_a_path(text: str, found: bool) -> None:
    assert (PATH.search(text) is not None) == found


def test_plans_of_a_stock_network() -> None:
    before, content = copy.deepcopy(PLANS), SharedContent(True, "Other")
    assert content.plans(PLANS) == {
        "plans_name": "Other",
        "dataset_name": "Dataset004_Hippocampus",
        "notes": ["3 mm"],
        "configurations": {
            "2d": {"spacing": [1.0, 1.0]},
            "3d_fullres": {"inherits_from": "2d", "batch_size": 2},
        },
    }
    assert before == PLANS
    assert content.left_out == {
        "plans.json: fine_tuned_from",
        "plans.json: nnunet_ext",
        "plans.json: collection",
        "plans.json: notes",
        "plans.json: configurations: 3d_fullres: cache",
    }


def test_plans_of_another_network_keep_what_it_is_built_from() -> None:
    found = SharedContent(False, "LitePlans").plans(PLANS)
    assert "fine_tuned_from" not in found
    assert found["nnunet_ext"] == {"format": 1, "ba_net": {"boundary_width": 5}, "seed": 0}
    assert found["collection"] == {"task": "liver"}
    assert found["configurations"]["2d"] == {"spacing": [1.0, 1.0], "nnunet_ext": {}}


def test_dataset_json() -> None:
    kept: dict[str, Any] = {
        "channel_names": {"0": "/CT"},
        "labels": {"background": 0, "liver": [1, 2]},
        "regions_class_order": [1],
        "numTraining": 3,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIO",
        "licence": "CC0",
    }
    private = {"dataset": {"case_1": {}}, "training": [], "annotated": {}, "reference": "/home/anna/paper.pdf"}
    content = SharedContent(True, "")
    assert content.dataset_json(kept | private) == kept
    assert content.left_out == {f"dataset.json: {key}" for key in private}


def test_fingerprint_and_summary() -> None:
    content = SharedContent(True, "")
    assert content.fingerprint({"spacings": [[1, 1, 1]], "cases": ["a"]}) == {"spacings": [[1, 1, 1]]}
    case = {"metrics": {"1": {"Dice": 1.0}}, "prediction_file": "/out/a.nii.gz", "reference_file": "/in/a.nii.gz"}
    summary = {"foreground_mean": {"Dice": 1.0}, "mean": {"1": {"Dice": 1.0}}, "metric_per_case": [case]}
    assert content.summary(summary) == summary | {"metric_per_case": [{"metrics": {"1": {"Dice": 1.0}}}]}
    assert content.left_out == {
        "dataset_fingerprint.json: cases",
        "summary.json: prediction_file",
        "summary.json: reference_file",
    }


def test_checkpoint() -> None:
    arguments = {"plans": PLANS, "configuration": "2d", "fold": "all", "dataset_json": {"labels": {}, "dataset": {}}}
    weights = {"a": torch.ones(1)}
    checkpoint = {
        "network_weights": {"b": torch.ones(2)},
        "init_args": arguments | {"device": torch.device("cpu"), "nnunet_ext": {}},
        "trainer_name": "FineTuneTrainer",
        "current_epoch": 7,
        "inference_allowed_mirroring_axes": (0, 1),
        "logging": {},
        "optimizer_state": {},
        "nnunet_ext": {},
    }
    content = SharedContent(True, "Other")
    found = content.checkpoint(checkpoint, "nnUNetTrainer", weights)
    assert found == {
        "network_weights": weights,
        "init_args": {
            "plans": SharedContent(True, "Other").plans(PLANS),
            "configuration": "2d",
            "fold": "all",
            "dataset_json": {"labels": {}},
        },
        "trainer_name": "nnUNetTrainer",
        "current_epoch": 7,
        "inference_allowed_mirroring_axes": (0, 1),
        "exported_from": {"trainer": "FineTuneTrainer"},
    }
    assert content.left_out >= {
        "checkpoint: logging",
        "checkpoint: optimizer_state",
        "checkpoint: nnunet_ext",
        "checkpoint: init_args.device",
        "checkpoint: init_args.nnunet_ext",
        "dataset.json: dataset",
    }
