"""What doctor says about other packages' trainers: the folder that breaks or shadows nnU-Net's look-up."""

import importlib.util
import sys
from pathlib import Path

import pytest
from foreign_trainers import OWN, open_door, write_broken, write_namesake

from nnunet_ext.cli.main import main
from nnunet_ext.cli.setup import doctor, doctor_foreign
from nnunet_ext.cli.setup.check import Check
from nnunet_ext.cli.setup.doctor_foreign import check_foreign

FINE = Check("foreign trainers", "ok", "none shadows ours or breaks nnU-Net's look-up")
NO_NAME = (
    "a_broken.py: ImportError: cannot import name 'no_such_name' from 'nnunetv2.training.nnUNetTrainer.nnUNetTrainer'"
)


def problem() -> tuple[str, str, str]:
    found = check_foreign()
    return found.status, found.message, found.remedy


class TestShadows:
    """A foreign trainer of the same name."""

    def test_in_an_earlier_folder(self, monkeypatch, tmp_path):
        foreign = write_namesake(tmp_path / "foreign")
        open_door(monkeypatch, foreign, OWN)
        message = f"{foreign} also has CoTrTrainer and is searched before ours"
        assert problem() == ("FAIL", message, "put our folder first in nnUNet_extTrainer")

    def test_in_a_later_folder(self, monkeypatch, tmp_path):
        foreign = write_namesake(tmp_path / "foreign")
        open_door(monkeypatch, OWN, foreign)
        message = f"{foreign} also has CoTrTrainer and is searched after ours, so nnU-Net finds ours"
        assert problem() == ("warn", message, "to use the other one, rename it there")

    def test_in_nnunet_itself(self, monkeypatch, tmp_path):
        stock = tmp_path / "training" / "nnUNetTrainer" / "variants"
        stock.mkdir(parents=True)
        (stock / "__init__.py").write_text("")
        (stock / "copied.py").write_text("from somewhere import BANetTrainer\n")
        monkeypatch.setattr(doctor_foreign, "nnunet_folder", lambda: tmp_path)
        open_door(monkeypatch, OWN)
        message = f"{stock.parent} also has BANetTrainer and is searched before ours"
        assert problem() == ("FAIL", message, "remove it from there")

    @pytest.mark.parametrize("ours_first", [True, False])
    def test_a_trainer_derived_from_ours_is_no_shadow(self, monkeypatch, tmp_path, ours_first):
        text = "from nnunet_ext.methods.cotr.trainer import CoTrTrainer\nclass Mine(CoTrTrainer): ...\n"
        (tmp_path / "mine.py").write_text(text)
        open_door(monkeypatch, *((OWN, tmp_path) if ours_first else (tmp_path, OWN)))
        assert check_foreign() == FINE


class TestBroken:
    """A foreign module that cannot be imported."""

    def test_in_an_earlier_folder(self, monkeypatch, tmp_path):
        foreign = write_broken(tmp_path / "foreign")
        open_door(monkeypatch, foreign, OWN)
        status, message, remedy = problem()
        assert status == "FAIL"
        assert message.startswith(f"{foreign} breaks nnU-Net's look-up and is searched before ours: {NO_NAME}")
        assert remedy == "put our folder first in nnUNet_extTrainer, and correct or remove that module"

    def test_in_a_later_folder(self, monkeypatch, tmp_path):
        foreign = write_broken(tmp_path / "foreign")
        open_door(monkeypatch, OWN, foreign)
        status, message, remedy = problem()
        assert status == "warn"
        expected = f"{foreign} breaks nnU-Net's look-up of trainers in it or in later folders: {NO_NAME}"
        assert message.startswith(expected)
        assert remedy == "correct or remove that module"

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            ("import no_such_package", "module.py: ModuleNotFoundError: No module named 'no_such_package'"),
            ("class Bad(:", "module.py: SyntaxError: invalid syntax"),
            ("1 / 0", "module.py: ZeroDivisionError: division by zero"),
            ("import sys\nsys.exit(2)", "module.py: SystemExit: 2"),
            ("import json\njson.loads('')", "module.py: JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        ],
    )
    def test_the_module_is_named_whatever_it_raises(self, monkeypatch, tmp_path, code, reason):
        package = tmp_path / "package"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "module.py").write_text(code + "\n")
        open_door(monkeypatch, tmp_path, OWN)
        assert f": package/{reason}" in check_foreign().message

    def test_what_keeps_ours_from_being_found_comes_first(self, monkeypatch, tmp_path):
        later, earlier = write_namesake(tmp_path / "later"), write_broken(tmp_path / "earlier")
        open_door(monkeypatch, OWN, later)
        assert check_foreign().message.startswith(str(later))
        open_door(monkeypatch, earlier, OWN, later)
        assert check_foreign().message.startswith(str(earlier))


def test_one_line_of_doctor_and_the_exit_code(monkeypatch, capfd, tmp_path):
    namesake, broken = write_namesake(tmp_path / "namesake"), write_broken(tmp_path / "broken")
    monkeypatch.setattr(doctor, "CHECKS", (check_foreign,))
    for folders, code in (((OWN, namesake), 0), ((namesake, OWN), 1), ((OWN, broken), 0), ((broken, OWN), 1)):
        open_door(monkeypatch, *folders)
        assert main(["doctor"]) == code
        _, line, remedy = capfd.readouterr().out.splitlines()
        assert str(namesake if namesake in folders else broken) in line
        assert remedy.strip().startswith("-> ")


def test_nothing_is_left_behind(monkeypatch, capfd, tmp_path):
    (tmp_path / "talkative.py").write_text("print('hello')\n")
    open_door(monkeypatch, tmp_path, OWN)
    path = list(sys.path)
    assert check_foreign() == FINE
    assert (sys.path, "talkative" in sys.modules, capfd.readouterr().out) == (path, False, "")


def test_our_folder_alone(monkeypatch):
    open_door(monkeypatch, OWN, Path("/no/such/folder"))
    assert check_foreign() == FINE


def test_without_nnunet(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert check_foreign().status == "warn"
