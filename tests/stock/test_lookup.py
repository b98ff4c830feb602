"""Names of trainers and planners."""

import importlib.util
import os
from pathlib import Path

import pytest
from foreign_trainers import OWN, open_door, write_broken, write_namesake

from nnunet_ext import sockets
from nnunet_ext.errors import UserError
from nnunet_ext.stock import lookup

pytestmark = pytest.mark.smoke


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own folder beside ours in the door."""
    folder = tmp_path / "mine"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "__init__.py").write_text("class InInit: ...\n")
    (folder / "package" / "module.py").write_text("class InPackage: ...\n")
    (folder / "one.py").write_text(
        "import json\nfrom a import (\n    First,\n    Second as Other,\n)\nAlias = First\n\n\nclass Own(First):\n"
        "    class Inner: ...\n"
    )
    (folder / "broken.py").write_text("class Broken(:\n")
    (folder / "no_package").mkdir()
    (folder / "no_package" / "module.py").write_text("class Unreachable: ...\n")
    places = [str(sockets.folder("trainers")), str(folder), str(tmp_path / "missing"), ""]
    monkeypatch.setenv(sockets.VARIABLE, os.pathsep.join(places))
    return folder


def test_names_in_a_folder_are_those_that_nnunet_would_find(door):
    assert lookup.class_names(door) == {"First", "Other", "Alias", "Own", "InPackage"}
    assert lookup.class_names(door, imported=False) == {"Own", "InPackage"}


def test_folders_of_the_door(door):
    assert lookup.door_folders() == [sockets.folder("trainers"), door]


def test_trainers_are_stock_ours_and_the_users(door):
    names = lookup.trainer_names()
    assert {
        "nnUNetTrainer",
        "nnUNetTrainer_5epochs",
        "nnUNet_Primus_M_Trainer",
        "BANetTrainer",
        "Own",
        "Alias",
    } <= names
    assert not {"Adam", "DC_and_CE_loss", "deepcopy"} & names


def test_our_trainers_are_known_with_the_door_closed(monkeypatch):
    monkeypatch.delenv(sockets.VARIABLE, raising=False)
    lookup.check_trainer("BANetTrainer")


def test_unknown_trainer(door):
    with pytest.raises(
        UserError, match=r"-tr: unknown trainer 'BANetTrainr'\. Did you mean 'BANetTrainer'\? Legal: BANe"
    ):
        lookup.check_trainer("BANetTrainr")


def test_planners_are_ours_and_stock():
    assert lookup.planner_names() == {
        *sockets.names("planners"),
        *("ExperimentPlanner", "ResEncUNetPlanner", "nnUNetPlanner_torchres"),
        *("nnUNetPlannerResEncM", "nnUNetPlannerResEncL", "nnUNetPlannerResEncXL"),
        *("nnUNetPlannerResEncL_noResampling", "nnUNetPlannerResEncL_torchres", "nnUNetPlannerResEncL_torchres_sepz"),
    }


def test_planner_classes():
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    from nnunet_ext.methods.baseline.planner import LitePlanner

    assert lookup.find_planner("LitePlanner") is LitePlanner
    assert lookup.find_planner("ExperimentPlanner") is ExperimentPlanner


def test_unknown_planner():
    with pytest.raises(UserError, match=r"-pl: unknown planner 'BAPlanner'\. Did you mean 'BANetPlanner'\? Legal: "):
        lookup.find_planner("BAPlanner")


def test_a_class_that_is_no_planner():
    with pytest.raises(UserError, match=r"-pl: unknown planner 'DatasetFingerprintExtractor'\."):
        lookup.find_planner("DatasetFingerprintExtractor")


def test_no_nnunet(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"nnunetv2: expected nnU-Net to be installed, found none\. See nnunet_ext doctor"
    ):
        lookup.trainer_names()


class TestBesideOtherPackages:
    """A foreign folder beside ours in ``nnUNet_extTrainer``."""

    @pytest.mark.parametrize("ours_first", [True, False])
    @pytest.mark.parametrize("write", [write_namesake, write_broken])
    def test_ours_in_both_orders(self, monkeypatch, tmp_path, write, ours_first):
        foreign = write(tmp_path / "foreign")
        open_door(monkeypatch, *((OWN, foreign) if ours_first else (foreign, OWN)))
        for name in ("CoTrTrainer", "BANetTrainer"):
            lookup.check_trainer(name)
            assert lookup.ext_trainer(name) is sockets.load("trainers", name)

    def test_a_foreign_trainer_beside_a_broken_module(self, monkeypatch, tmp_path):
        open_door(monkeypatch, OWN, write_broken(tmp_path / "foreign"))
        lookup.check_trainer("GoodTrainer")
        expected = (
            r"^-tr GoodTrainer: expected nnU-Net to find it, got ImportError: cannot import name 'no_such_name' from "
            r".*\. See nnunet_ext doctor\.$"
        )
        with pytest.raises(UserError, match=expected):
            lookup.ext_trainer("GoodTrainer")

    def test_a_foreign_trainer_that_is_not_of_ours(self, monkeypatch, tmp_path):
        open_door(monkeypatch, OWN, write_namesake(tmp_path / "foreign"))
        assert lookup.ext_trainer("NamesakeTrainer") is None
