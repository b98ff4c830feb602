"""Files of operating systems count for nothing, but for those that nnU-Net would read as images."""

import pytest

from nnunet_ext.data.raw_dataset import list_images
from nnunet_ext.errors import UserError
from nnunet_ext.files.system_files import files_in

LEFT = (".DS_Store", "Thumbs.db", "desktop.ini", "._plans.json")


def test_what_is_in_a_folder(tmp_path):
    assert files_in(tmp_path / "none") == []
    for name in (*LEFT, "b", "a", ".hidden"):
        (tmp_path / name).touch()
    assert [file.name for file in files_in(tmp_path)] == [".hidden", "a", "b"]


def test_images_beside_them(tmp_path):
    for name in (*LEFT, "a_0000.png"):
        (tmp_path / name).touch()
    assert [case.name for case in list_images(tmp_path, ".png", 1)] == ["a"]


def test_what_nnunet_would_take_for_a_case(tmp_path):
    for name in ("._a_0000.png", "a_0000.png"):
        (tmp_path / name).touch()
    with pytest.raises(UserError) as caught:
        list_images(tmp_path, ".png", 1)
    assert str(caught.value) == (
        f"{tmp_path / '._a_0000.png'}: expected images, found a file in which macOS keeps the attributes of another; "
        f"nnU-Net would read it as a case. Delete such files: find {tmp_path} -name '._*' -delete"
    )
