"""A changed file is told from the one that it was, however large it is."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from nnunet_ext.files import file_stamp
from nnunet_ext.files.file_stamp import FileStamp, changed_file


def write(file: Path, content: bytes) -> Path:
    """Write a file at a time of its own: equal size, another time."""
    file.write_bytes(content)
    os.utime(file, ns=(len(list(file.parent.iterdir())), hash(content) % 10**9))
    return file


@pytest.mark.parametrize("name", ["label.nii", "label.nii.gz"])
@pytest.mark.parametrize("small", [True, False])
def test_a_change_in_the_middle(tmp_path, monkeypatch, name, small):
    if not small:
        monkeypatch.setattr(file_stamp, "CHUNK", 64)
    voxels = bytearray(os.urandom(20_000))
    pack = gzip.compress if name.endswith(".gz") else bytes
    before = pack(bytes(voxels))
    file = write(tmp_path / name, before)
    stamp = FileStamp.of(file)
    write(file, before)
    os.utime(file)
    assert stamp.fits(file)  # touched or copied
    voxels[9_999] ^= 1
    after = pack(bytes(voxels))
    assert len(after) == len(before)
    os.utime(write(file, after))
    assert not stamp.fits(file)


def test_the_first_file_that_changed(tmp_path):
    files = [write(tmp_path / name, name.encode()) for name in "abc"]
    stamps = [FileStamp.of(file).as_json() for file in files]
    assert changed_file(files, stamps) is None
    assert changed_file(files, None) is None
    files[1].write_bytes(b"other")
    assert changed_file(files, stamps) == files[1]
    files[1].unlink()
    assert changed_file(files, stamps) is None  # it may be on another machine
    assert changed_file(files, stamps[:2]) == files[2]
