"""Interfaces as data and as files of a user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nnunet_ext.challenges.container.interface import INTERFACES, Interface
from nnunet_ext.errors import UserError

OWN: dict[str, Any] = {
    "name": "mine",
    "inputs": [{"slug": "mr-t1", "relative_path": "images/mr-t1", "channel": "T1"}],
    "output": {"slug": "tumor", "relative_path": "images/tumor", "kind": "label_map"},
}


@pytest.mark.parametrize("name", INTERFACES)
def test_written_and_read(name: str) -> None:
    interface = INTERFACES[name]
    assert Interface.of(json.loads(json.dumps(interface.as_json())), "x") == interface


def test_the_folders_of_the_challenges() -> None:
    """As the challenges' own containers read and wrote them."""
    places = {name: ([each.relative_path for each in made.inputs], made.output) for name, made in INTERFACES.items()}
    assert {name: (paths, output.relative_path, output.kind) for name, (paths, output) in places.items()} == {
        "kits21": (["images/ct"], "images/kidney-tumor-and-cyst", "label_map"),
        "segrap2023_oar": (
            ["images/head-neck-ct", "images/head-neck-contrast-enhanced-ct"],
            "images/head-neck-segmentation",
            "structures",
        ),
        "segrap2023_gtv": (
            ["images/head-neck-ct", "images/head-neck-contrast-enhanced-ct"],
            "images/gross-tumor-volume-segmentation",
            "structures",
        ),
        "kipa22": (["."], ".", "label_map"),
    }


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(OWN))
    read = Interface.read(tmp_path / "mine.json")
    assert (read.inputs[0].ending, read.output.ending, read.records) == (".mha", ".mha", ())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"inputs": []}, "expected at least one input, got none"),
        ({"inputs": [{"slug": "a", "channel": "CT"}]}, "relative_path"),
        ({"name": 3}, "expected only texts, got 3"),
        ({"output": {**OWN["output"], "kind": "masks"}}, "expected the kind label_map or structures, got 'masks'"),
        ({"output": {**OWN["output"], "relative_path": "../x"}}, "expected paths inside the folders"),
        ({"output": {**OWN["output"], "relative_path": "/x"}}, "expected paths inside the folders"),
        ({"outputs": 1}, "outputs"),
    ],
)
def test_mistakes(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=r"mine\.json: ") as caught:
        Interface.of(OWN | change, "mine.json")
    assert expected in str(caught.value)
    with pytest.raises(UserError, match="'output'"):
        Interface.of({"name": "mine", "inputs": []}, "mine.json")
