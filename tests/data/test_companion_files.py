"""nnU-Net reads a .tif's spacing from a file beside it, which goes wherever the image goes."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from nnunet_ext.data.case_check import check_case
from nnunet_ext.data.companion_files import files_of, link_label, links, spacing_file
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_reader import planned_reader, read_image
from nnunet_ext.errors import UserError


def tiff_reader():
    return planned_reader({"plans_name": "Plans", "image_reader_writer": "Tiff3DIO"})


@pytest.fixture
def case(tmp_path) -> Case:
    for name in ("x_0000", "x_0001", "y"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.ones((4, 5, 6), np.uint8))
    for name in ("x", "y"):
        (tmp_path / f"{name}.json").write_text('{"spacing": [3.0, 1.0, 2.0]}')
    return Case("x", (tmp_path / "x_0000.tif", tmp_path / "x_0001.tif"), tmp_path / "y.tif")


def test_where_they_are():
    assert spacing_file(Path("a/x_0000.tif")) == Path("a/x.json")
    assert spacing_file(Path("a/x_0000.TIFF")) == Path("a/x.json")
    assert spacing_file(Path("a/x_0000.tif"), label=True) == Path("a/x_0000.json")
    assert spacing_file(Path("a/x_0000.nii.gz")) is None


def test_files_of_a_case(case, tmp_path):
    names = ["y.tif", "x_0000.tif", "x_0001.tif", "y.json", "x.json"]
    assert [file.name for file in files_of(case)] == names
    (tmp_path / "x.json").unlink()
    assert [file.name for file in files_of(case)] == names[:-1]
    assert files_of(Case("a", (Path("a_0000.png"),))) == [Path("a_0000.png")]


def test_they_are_linked_with_the_image(case, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    found = links(case.images, out, "new", ".tif")
    assert {to.name: file.name for to, file in found.items()} == {
        "new_0000.tif": "x_0000.tif",
        "new.json": "x.json",
        "new_0001.tif": "x_0001.tif",
    }
    for to, file in found.items():
        to.symlink_to(file)
    assert case.label is not None
    link_label(case.label, out / "label.tif")
    tiff = tiff_reader()
    for file, label in ((out / "new_0001.tif", False), (out / "label.tif", True)):
        assert read_image(tiff, file, label=label)[1]["spacing"] == [3.0, 1.0, 2.0]


def test_a_label_need_not_say_its_spacing(case, tmp_path):
    tiff = tiff_reader()
    check_case(case, tiff, 2, (0, 1))
    (tmp_path / "y.json").unlink()
    check_case(case, tiff, 2, (0, 1))
    (tmp_path / "y.json").write_text('{"spacing": [1, 1, 1]}')
    with pytest.raises(UserError, match=r"y\.tif: expected the spacing \(3, 1, 2\) mm of x_0000\.tif"):
        check_case(case, tiff, 2, (0, 1))


@pytest.mark.parametrize("content", ["{", "{}", '{"spacing": [1, 2]}', '{"spacing": 3}'])
def test_one_that_is_wrong(case, tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError) as caught:
        read_image(tiff_reader(), tmp_path / "x_0000.tif")
    start = f'{tmp_path / "x.json"}: expected {{"spacing": [Z, Y, X]}} in mm for x_0000.tif, got something else ('
    assert str(caught.value).startswith(start)
    assert json.dumps("corrupt") not in str(caught.value)
