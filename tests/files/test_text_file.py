"""Encodings of files that users write: what nnU-Net cannot read is told with the true reason."""

import os

import pytest

from nnunet_ext.data.case_list import read_case_list
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json
from nnunet_ext.files.text_file import read_text

TEXT = '{"Ödem": 1}'


def test_plain(tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(TEXT.encode())
    assert read_text(file) == TEXT
    assert read_json(file) == {"Ödem": 1}


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        (
            "utf-8-sig",
            "expected plain UTF-8, got UTF-8 with a byte-order mark, which nnU-Net does not read. Save it as",
        ),
        ("utf-16", "expected plain UTF-8, got UTF-16. Save it as UTF-8."),
        ("latin-1", "expected UTF-8, got the byte 0xd6 in line 2, as in Latin-1. Save it as UTF-8."),
    ],
)
def test_other_encodings(tmp_path, encoding, text):
    file = tmp_path / "a.json"
    file.write_bytes(("\n" + TEXT).encode(encoding))
    with pytest.raises(UserError) as caught:
        read_json(file)
    assert str(caught.value).startswith(f"{file}: {text}")
    if encoding == "latin-1":
        with pytest.raises(UserError, match="as in Latin-1"):
            read_case_list(file, ["a"], "Dataset001_A", "--test")


def test_a_list_of_cases_may_begin_with_a_mark(tmp_path):
    file = tmp_path / "cases.txt"
    file.write_bytes("case_1\r\n\r\ncase_2\r\n".encode("utf-8-sig"))
    assert read_case_list(file, ["case_1", "case_2"], "Dataset001_A", "--test") == ("case_1", "case_2")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_no_right_to_read(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("{}")
    file.chmod(0)
    with pytest.raises(UserError, match=r"expected JSON, got 'Permission denied'\. Make it readable"):
        read_json(file)


def test_a_refusal_to_read_is_no_broken_file(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(UserError, match=r"expected JSON, got 'Permission denied'\. Make it readable: chmod u\+r\.$"):
        read_json(tmp_path / "a.json")
