"""Hashes of plans and scored files: equal for what trains and scores alike, and only for that."""

import json
from copy import deepcopy

import pytest

from nnunet_ext.comparison.digest import files_digest, plans_digest
from nnunet_ext.errors import UserError

PLANS = {
    "plans_name": "P",
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "nnunet_ext": {"format": 1, "num_epochs": 2},
    "configurations": {
        "base": {"patch_size": [8, 8, 8], "spacing": [1, 1, 1], "nnunet_ext": {"initial_lr": 0.1}, "architecture": {}},
        "big": {"inherits_from": "base", "batch_size": 2, "nnunet_ext": {"weight_decay": 0.1}},
        "other": {"patch_size": [4, 4]},
    },
}


@pytest.fixture
def digest(tmp_path):
    """Digest of changed plans: path of the entry, new value."""

    def make(*path, value=None, labels=("background", "organ")):
        (tmp_path / "dataset.json").write_text(json.dumps({"labels": {name: i for i, name in enumerate(labels)}}))
        plans = deepcopy(PLANS)
        if path:
            place = plans
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
        return plans_digest(tmp_path, plans, "big")

    return make


@pytest.mark.parametrize(
    "path",
    [
        ("transpose_forward",),
        ("configurations", "base", "patch_size"),
        ("configurations", "base", "nnunet_ext", "initial_lr"),
        ("configurations", "big", "batch_size"),
        ("configurations", "big", "nnunet_ext", "weight_decay"),
    ],
)
def test_what_matters(digest, path):
    assert digest(*path, value=[2, 1, 0]) != digest()


def test_labels_matter(digest):
    assert digest(labels=("background", "organ", "tumour")) != digest()


@pytest.mark.parametrize(
    "path", [("plans_name",), ("nnunet_ext", "num_epochs"), ("configurations", "other", "patch_size")]
)
def test_what_does_not_matter(digest, path):
    assert digest(*path, value=[2, 1, 0]) == digest()


def test_files_in_order_and_where_they_end(tmp_path):
    contents = {
        "a": b"xy",
        "b": b"z",
        "c": b"x",
        "d": b"yz",
        "e": b"x" * (1 << 20) + b"1",
        "f": b"x" * (1 << 20) + b"2",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    found = [files_digest(tmp_path / name for name in names) for names in ("ab", "ba", "cd", "a", "e", "f", "")]
    assert len(set(found)) == len(found)
    with pytest.raises(UserError, match="gone: expected a file to score, got 'No such file"):
        files_digest([tmp_path / "gone"])
