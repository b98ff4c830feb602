"""Variables that cannot be meant are refused by every command and trainer, before a folder is made."""

import os
from pathlib import Path

import pytest

from nnunet_ext.cli.main import main
from nnunet_ext.cli.setup import doctor_checks
from nnunet_ext.data.environment import VARIABLES, check_variables
from nnunet_ext.errors import UserError
from nnunet_ext.stock import folders


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in VARIABLES:
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    return tmp_path


WRONG = [
    ('"{root}/raw"', "got quotation marks as part of it. export nnUNet_raw={root}/raw"),
    ("'{root}/raw'", "got quotation marks as part of it. export nnUNet_raw={root}/raw"),
    ("~/raw", "got a '~' that no shell replaced. export nnUNet_raw={root}/home/raw"),
    (" {root}/raw", "got blanks around it. export nnUNet_raw={root}/raw"),
    ("{root}/raw\n", "got blanks around it."),
    ("$HOME/raw", "got a '$' that no shell replaced. export nnUNet_raw={root}/home/raw"),
    (
        "{root}/nnUNet_results/../nnUNet_preprocessed",
        "of its own, got that of nnUNet_preprocessed. export nnUNet_raw=/",
    ),
]


@pytest.mark.parametrize(("value", "text"), WRONG)
def test_wrong_values(root, monkeypatch, value, text):
    monkeypatch.setenv("nnUNet_raw", value.format(root=root))
    with pytest.raises(UserError) as caught:
        check_variables()
    assert str(caught.value).startswith(f"nnUNet_raw={value.format(root=root)}: expected the path of a folder")
    assert text.format(root=root) in str(caught.value)
    found = doctor_checks.check_folder("nnUNet_raw")
    assert found.status == "FAIL"
    assert found.remedy.startswith("export nnUNet_raw=/")


@pytest.mark.parametrize("value", [value for value, _ in WRONG] + ["{root}/row", "{root}/nowhere/raw"])
@pytest.mark.parametrize(
    "words",
    [
        "collect -d 900 -n C 11",
        "hide_labels -d 11 -o 111 --keep 3",
        "propagate_labels -d 11 -o 111",
        "plan_and_preprocess -d 11",
        "train 11 3d_fullres 0",
        "preprocess_unlabelled -d 11 -p Lite",
        "compare -d 11 -c 2d -tr NNUNetBaselineTrainer -o out",
    ],
)
def test_no_command_makes_a_folder_of_a_wrong_one(root, monkeypatch, capsys, value, words):
    before = sorted(root.rglob("*"))
    monkeypatch.setenv("nnUNet_raw", value.format(root=root))
    assert main(words.split()) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) <= 2  # a value may hold a line break
    assert sorted(root.rglob("*")) == before


def test_sound_and_unset_values(root, monkeypatch):
    check_variables()
    monkeypatch.delenv("nnUNet_raw")
    monkeypatch.setenv("nnUNet_results", " ")
    check_variables()
    with pytest.raises(UserError, match="found the variable unset"):
        folders.folder("nnUNet_results")


def test_only_the_last_folder_of_a_path_is_made(root, monkeypatch):
    monkeypatch.setenv("nnUNet_results", str(root / "new"))
    assert folders.folder("nnUNet_results", writable=True).is_dir()
    monkeypatch.setenv("nnUNet_results", str(root / "mistyped" / "new"))
    with pytest.raises(UserError, match=r"mistyped/new: expected a folder, found none\. Create it or correct the var"):
        folders.folder("nnUNet_results", writable=True)
    assert not (root / "mistyped").exists()


def test_raw_data_are_never_looked_for_in_a_folder_made_for_it(root, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(root / "row"))
    with pytest.raises(UserError, match="found none"):
        folders.folder("nnUNet_raw", writable=True)
    assert folders.folder("nnUNet_raw", writable=True, new=True).is_dir()  # to write phantoms into


def test_a_relative_folder_is_a_warning(root, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", "nnUNet_raw")
    assert folders.folder("nnUNet_raw") == Path("nnUNet_raw")
    found = doctor_checks.check_folder("nnUNet_raw")
    assert (found.status, found.remedy) == ("warn", f"export nnUNet_raw={root / 'nnUNet_raw'}")


def test_trainers_look_too(root, monkeypatch):
    """Stock commands train with them."""
    from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer

    monkeypatch.setenv("nnUNet_results", "~/results")
    with pytest.raises(UserError, match="got a '~' that no shell replaced"):
        NNUNetBaselineTrainer({}, "2d", 0, {})
    assert not os.path.exists("~")
