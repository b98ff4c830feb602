"""Links to files and folders, and copies where there are no links."""

from pathlib import Path

import pytest

from nnunet_ext.files.link import link, reference


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_content_is_there(tmp_path, monkeypatch, links):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("scan")
    if not links:

        def refuse(*_, **__):
            raise OSError("no links here")

        monkeypatch.setattr(Path, "symlink_to", refuse)
    link(tmp_path / "folder", tmp_path / "other")
    link(tmp_path / "folder" / "file", tmp_path / "file")
    assert (tmp_path / "other" / "file").read_text() == (tmp_path / "file").read_text() == "scan"
    assert (tmp_path / "other").is_symlink() == (tmp_path / "file").is_symlink() == links


def test_inside(tmp_path):
    file = tmp_path / "raw" / "Dataset003_Liver" / "imagesTr" / "a_0000.nii.gz"
    assert reference(file, tmp_path / "raw") == "../Dataset003_Liver/imagesTr/a_0000.nii.gz"


def test_inside_by_a_detour(tmp_path):
    file = tmp_path / "raw" / "Dataset004_Other" / ".." / "Dataset003_Liver" / "a.nii.gz"
    assert reference(file, tmp_path / "elsewhere" / ".." / "raw") == "../Dataset003_Liver/a.nii.gz"


def test_outside(tmp_path):
    assert reference(tmp_path / "rawer" / "a.nii.gz", tmp_path / "raw") == str(tmp_path / "rawer" / "a.nii.gz")


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path.relative_to(tmp_path) / "raw" / "Dataset003_Liver" / "a.nii.gz"
    assert reference(file, tmp_path / "raw") == "../Dataset003_Liver/a.nii.gz"


def test_a_link_is_named_by_its_own_place(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "Dataset003_Liver").symlink_to(tmp_path / "far")
    file = tmp_path / "raw" / "Dataset003_Liver" / "a.nii.gz"
    assert reference(file, tmp_path / "raw") == "../Dataset003_Liver/a.nii.gz"
