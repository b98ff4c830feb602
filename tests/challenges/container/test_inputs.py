"""Where the images are: both spellings of inputs.json, or none; and links that change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nnunet_ext.challenges.container.inputs import find_cases
from nnunet_ext.challenges.container.interface import INTERFACES
from nnunet_ext.errors import UserError

KITS, TUMORS = INTERFACES["kits21"], INTERFACES["segrap2023_gtv"]


def put(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


def describe(folder: Path, *entries: Any) -> None:
    (folder / "inputs.json").write_text(json.dumps(entries))


@pytest.mark.parametrize("key", ["socket", "interface"])
def test_both_spellings(tmp_path: Path, key: str) -> None:
    put(tmp_path, "images/elsewhere/a.mha", "images/ct/b.mha")
    describe(tmp_path, {key: {"slug": "ct-image", "relative_path": "images/elsewhere"}}, {"value": 3})
    (case,) = find_cases(tmp_path, KITS)
    assert (case.name, case.images) == ("a", (tmp_path / "images/elsewhere/a.mha",))


def test_the_known_folders(tmp_path: Path) -> None:
    """Of containers before inputs.json; also where it gives no folder, or has another slug."""
    put(
        tmp_path,
        "images/head-neck-contrast-enhanced-ct/b.mha",
        "images/head-neck-ct/a.mha",
        "images/head-neck-ct/._a.mha",
    )
    expected = (tmp_path / "images/head-neck-ct/a.mha", tmp_path / "images/head-neck-contrast-enhanced-ct/b.mha")
    assert find_cases(tmp_path, TUMORS)[0].images == expected
    describe(tmp_path, {"interface": {"slug": "head-neck-ct"}}, {"socket": {"slug": "x", "relative_path": "y"}})
    assert find_cases(tmp_path, TUMORS)[0].images == expected


def test_one_image_for_each_input(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected one image \*\.mha in images/ct, found none"):
        find_cases(tmp_path, KITS)
    put(tmp_path, "images/ct/a.mha", "images/ct/b.mha", "images/ct/notes.txt")
    with pytest.raises(UserError, match="found a, b"):
        find_cases(tmp_path, KITS)
    (tmp_path / "images/ct/b.mha").unlink()
    assert find_cases(tmp_path, KITS)[0].name == "a"
    (tmp_path / "inputs.json").write_text("{}")
    with pytest.raises(UserError, match="expected a list of objects, got dict"):
        find_cases(tmp_path, KITS)


def test_several_cases(tmp_path: Path) -> None:
    """KiPA22: all files of the input folder."""
    with pytest.raises(UserError, match=r"expected images \*\.nii\.gz in \."):
        find_cases(tmp_path, INTERFACES["kipa22"])
    put(tmp_path, "2.nii.gz", "10.nii.gz")
    assert [case.name for case in find_cases(tmp_path, INTERFACES["kipa22"])] == ["10", "2"]


def test_a_link_that_changes(tmp_path: Path) -> None:
    for name in "ab":
        put(tmp_path / name, f"images/ct/{name}.mha")
        (tmp_path / "input").unlink(missing_ok=True)
        (tmp_path / "input").symlink_to(name)
        (case,) = find_cases(tmp_path / "input", KITS)
        assert case.images == (tmp_path / "input" / "images" / "ct" / f"{name}.mha",)
