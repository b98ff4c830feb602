"""Files that name cases."""

import pytest

from nnunet_ext.data.case_list import read_case_list
from nnunet_ext.errors import UserError

LEGAL = ("anna", "bert", "carl")


def test_order_is_kept_and_each_counts_once(tmp_path):
    file = tmp_path / "cases.txt"
    file.write_text("carl\n\n  anna \ncarl\n")
    assert read_case_list(file, LEGAL, "Dataset003_Liver", "--labelled") == ("carl", "anna")


def test_nothing(tmp_path):
    (tmp_path / "cases.txt").write_text("\n")
    assert read_case_list(tmp_path / "cases.txt", LEGAL, "Dataset003_Liver", "--labelled") == ()


def test_an_unknown_case(tmp_path):
    (tmp_path / "cases.txt").write_text("anna\nbret\n")
    with pytest.raises(UserError, match=r"cases.txt: unknown case 'bret' of Dataset003_Liver. Did you mean 'bert'\?"):
        read_case_list(tmp_path / "cases.txt", LEGAL, "Dataset003_Liver", "--labelled")


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(
        UserError, match=r"^--labelled: expected .*cases.txt to be a text file with one case on each line"
    ):
        read_case_list(tmp_path / "cases.txt", LEGAL, "Dataset003_Liver", "--labelled")
    (tmp_path / "cases.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match=r"cases\.txt: expected plain UTF-8, got UTF-16\. Save it as UTF-8\."):
        read_case_list(tmp_path / "cases.txt", LEGAL, "Dataset003_Liver", "--labelled")
