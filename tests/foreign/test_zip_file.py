"""Zip files of somebody else: each hostile one is refused in one line, and nothing is written outside."""

from __future__ import annotations

import shutil
import stat
import warnings
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.foreign import zip_file
from nnunet_ext.foreign.zip_file import ForeignZip

Usage = namedtuple("Usage", "total used free")


def pack(file: Path, *entries: str | tuple[str, int]) -> Path:
    """A zip file of entries with the content {}, or of entries with a mode."""
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that are there twice
        for each in entries:
            name, mode = (each, stat.S_IFREG | 0o644) if isinstance(each, str) else each
            entry = zipfile.ZipInfo(name)
            entry.filename = name  # as it is: ZipInfo itself changes some
            entry.external_attr = mode << 16
            archive.writestr(entry, "{}")
    return file


def refusal(file: Path, folder: Path | None = None) -> str:
    """The line of the refusal; the file can be deleted afterwards, so that it is closed, and nothing is left."""
    with pytest.raises(UserError) as caught, ForeignZip(file) as archive:
        archive.extract(archive.names, folder or file.parent / "out")
    assert "\n" not in str(caught.value)
    assert not [path for path in file.parent.rglob("*") if path.is_file() and path != file]
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["../evil", "D/../../evil", "/evil", "//host/evil", "C:\\evil", "C:/evil", "..\\evil", "D\\..\\..\\evil", "\\evil"],
)
def test_paths_that_lead_out(tmp_path, name):
    line = refusal(pack(tmp_path / "a.zip", "D/plans.json", name))
    assert "expected paths inside the model, found " in line
    assert "which leads out of it. Do not use this file." in line


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        (("D/link", stat.S_IFLNK | 0o777), "a link"),
        (("D/pipe", stat.S_IFIFO | 0o666), "a special file"),
        (("D/device", stat.S_IFBLK | 0o666), "a special file"),
        ("D/a\nb", "a name with control characters"),
        ("D/\x1b[2Ja", "a name with control characters"),
        ("D\\plans.json", "a name with characters that only some"),
        ("D/plans.json:stream", "a name with characters that only some"),
    ],
)
def test_special_entries(tmp_path, entry, wrong):
    line = refusal(pack(tmp_path / "a.zip", "D/plans.json", entry))
    assert "expected plain files and folders, found " in line
    assert f", {wrong}" in line


def test_a_name_that_ends_early(tmp_path):
    file = pack(tmp_path / "a.zip", "D/plans.json?.txt")
    file.write_bytes(file.read_bytes().replace(b"json?", b"json\0"))
    assert "found 'D/plans.json', a name with control characters" in refusal(file)


def test_encrypted(tmp_path):
    file = pack(tmp_path / "a.zip", "D/plans.json")
    content = bytearray(file.read_bytes())
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)
    assert "found 'D/plans.json', which is encrypted" in refusal(file)


@pytest.mark.parametrize(
    "names",
    [
        ("D/plans.json", "D/plans.json"),
        ("D/plans.json", "D/PLANS.json"),
        ("D/plans.json", "D/./plans.json"),
        ("D/plans.json", "D//plans.json"),
        ("D/caf\u00e9", "D/cafe\u0301"),
        ("D/a", "D/a/b"),
        ("D/a/b", "D/a"),
    ],
)
def test_a_name_twice(tmp_path, names):
    assert f"expected each name once, found {names[1]!r} again" in refusal(pack(tmp_path / "a.zip", *names))


def test_folders_may_come_again(tmp_path):
    with ForeignZip(pack(tmp_path / "a.zip", "D/", "D/a", "D/", "E/b", "E/")) as archive:
        assert archive.names == ["D/a", "E/b"]


def test_absurd_sizes(tmp_path):
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("D/zeros", "w") as stream:
        for _ in range(129):
            stream.write(bytes(2**23))  # 1 GiB and 8 MiB
    assert f"expected at most 200 times as many bytes as the zip file has, {file.stat().st_size}, found 10" in refusal(
        file
    )


def test_a_ratio_alone_is_not_absurd(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("D/zeros", bytes(2**20))
    with ForeignZip(tmp_path / "a.zip") as archive:
        archive.extract(["D/zeros"], tmp_path / "out")
    assert (tmp_path / "out/D/zeros").stat().st_size == archive.size("D/zeros") == 2**20


def test_an_entry_with_more_than_it_declares(tmp_path):
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("D/bomb", bytes(2**24))
    content = bytearray(file.read_bytes())
    for start in (22, content.rindex(b"PK\x01\x02") + 24):
        content[start : start + 4] = (100).to_bytes(4, "little")
    file.write_bytes(content)
    assert "expected a model's folder or an intact zip file of one, got Bad CRC-32 for file 'D/bomb'" in refusal(file)


def test_no_room(tmp_path, monkeypatch):
    file = pack(tmp_path / "a.zip", "D/plans.json", "D/more")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(9, 6, 3))
    assert f"expected 4 bytes of free space in {tmp_path / 'out'}, found 3. Free space, or set TMPDIR" in refusal(file)
    with ForeignZip(file) as archive:
        archive.extract(["D/more"], tmp_path / "out")
    assert (tmp_path / "out/D/more").read_text() == "{}"


def test_what_it_should_hold_is_named(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no archive")
    expected = "expected a task's folder or an intact zip file of one, got File is not a zip file. Copy it again."
    with pytest.raises(UserError, match=expected):
        ForeignZip(tmp_path / "a.zip", of="task")


def test_a_damaged_file(tmp_path):
    file = pack(tmp_path / "a.zip", "D/plans.json")
    file.write_bytes(file.read_bytes().replace(b"{}", b"[]", 1))
    assert "got Bad CRC-32 for file 'D/plans.json'. Copy it again." in refusal(file)


def test_the_limits_are_those_of_the_docstring():
    assert (zip_file.MOST_RATIO, zip_file.SMALL) == (200, 2**30)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_damage_inside_compressed_data(tmp_path, method):
    """Each place of it: some are found by the decompressor, others by the checksum."""
    whole = tmp_path / "whole.zip"
    numbers = bytes(number * number % 251 for number in range(3000))
    with zipfile.ZipFile(whole, "w", method) as archive:
        archive.writestr("D/data", numbers)
        entry = archive.getinfo("D/data")
    content = whole.read_bytes()
    whole.unlink()
    start = entry.header_offset + 30 + len("D/data")
    refused = left = 0
    for place in range(start, start + entry.compress_size, 7):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        (tmp_path / "a.zip").write_bytes(changed)
        try:
            with ForeignZip(tmp_path / "a.zip") as archive:
                archive.extract(["D/data"], tmp_path / "out")
            assert (tmp_path / "out/D/data").read_bytes() == numbers  # the size of LZMA's dictionary does not matter
        except UserError as error:
            refused += "expected a model's folder or an intact zip file of one, got " in str(error)
            left += (tmp_path / "out/D/data").exists()
        shutil.rmtree(tmp_path / "out")
    assert refused > 20
    assert not left
