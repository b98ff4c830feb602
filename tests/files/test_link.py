"""Links to files and folders, and copies where there are no links."""

from pathlib import Path

import pytest

from nnunet_ext.files.link import link


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
