"""nnU-Net stays as it is: every stock name resolves to the same class with us as without, and its own tests pass."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nnunetv2
import pytest

import nnunet_ext
from nnunet_ext import sockets
from nnunet_ext.stock.lookup import class_names

STOCK = Path(nnunetv2.__file__).parent
FOLDERS = {"trainers": STOCK / "training" / "nnUNetTrainer", "planners": STOCK / "experiment_planning"}

# One process looks every name up, first with the door closed and our package never imported, then with the door open.
LOOK_UP = """
import contextlib, io, json, os, sys
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
folder, door, trainers, planners = sys.argv[1], sys.argv[2], *map(json.loads, sys.argv[3:])

def place(found):
    return f"{found.__module__}:{found.__qualname__}:{id(found)}"

def planner(name):
    return recursive_find_python_class(folder, name, current_module="nnunetv2.experiment_planning")

def resolve():
    found = {"trainers": {name: recursive_find_trainer_class_by_name(name) for name in trainers}}
    found["planners"] = {name: planner(name) for name in planners}
    assert all(issubclass(each, nnUNetTrainer) for each in found["trainers"].values())
    assert all(issubclass(each, ExperimentPlanner) for each in found["planners"].values())
    return {kind: {name: place(each) for name, each in classes.items()} for kind, classes in found.items()}

with contextlib.redirect_stdout(io.StringIO()):
    os.environ.pop("nnUNet_extTrainer", None)
    without = resolve()
    imported = [name for name in sys.modules if name.partition(".")[0] == "nnunet_ext"]
    os.environ["nnUNet_extTrainer"] = door
    ours = recursive_find_trainer_class_by_name("BANetTrainer")
    within = resolve()
    from nnunet_ext.stock.lookup import find_planner
    through_us = {name: place(find_planner(name)) for name in planners}
print(json.dumps([without, within, through_us, imported, ours.__module__]))
"""


def stock_names(kind: str) -> list[str]:
    """Names of the classes that nnU-Net itself defines, trainers or planners."""
    names = class_names(FOLDERS[kind], imported=False)
    return sorted(names) if kind == "trainers" else sorted(name for name in names if "Planner" in name)


def stock_files() -> dict[str, int]:
    """Size of every file in nnU-Net's folder."""
    files = (file for file in STOCK.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {str(file.relative_to(STOCK)): file.stat().st_size for file in files}


@pytest.fixture(scope="session")
def looked_up() -> list:
    """Every stock name, looked up in a process of its own: without the door, with it, and through our command."""
    words = [str(FOLDERS["planners"]), str(sockets.folder("trainers"))]
    words += [json.dumps(stock_names(kind)) for kind in FOLDERS]
    done = subprocess.run([sys.executable, "-c", LOOK_UP, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_names_are_all_there():
    trainers, planners = stock_names("trainers"), stock_names("planners")
    assert len(trainers) > 70
    assert {"nnUNetTrainer", "nnUNetTrainerDA5", "nnUNetTrainer_5epochs", "nnUNet_Primus_M_Trainer"} <= set(trainers)
    assert {"ExperimentPlanner", "nnUNetPlannerResEncM", "nnUNetPlanner_torchres"} <= set(planners)


@pytest.mark.parametrize("kind", FOLDERS)
def test_stock_names_resolve_to_the_very_same_class(looked_up, kind):
    without, within, through_us, imported, ours = looked_up
    assert sorted(without[kind]) == stock_names(kind)
    assert within[kind] == without[kind]
    assert [place for place in without[kind].values() if not place.startswith("nnunetv2.")] == []
    assert through_us == without["planners"]
    assert imported == []
    assert ours == "nnunet_ext.methods.ba_net.trainer"


@pytest.mark.parametrize("kind", FOLDERS)
def test_our_names_are_not_stock_names(kind):
    assert set(sockets.names(kind)) & class_names(FOLDERS[kind]) == set()


def test_nnunets_own_tests_pass_with_the_door_open():
    before = stock_files()
    words = [sys.executable, "-m", "unittest", "nnunetv2.tests.test_find_objects", "nnunetv2.tests.test_paths"]
    environment = os.environ | {sockets.VARIABLE: str(sockets.folder("trainers"))}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Ran 7 tests" in done.stderr
    assert stock_files() == before


@pytest.mark.parametrize(
    "module", ["nnunet_ext", "nnunet_ext.sockets", "nnunet_ext.cli.main", "nnunet_ext.cli.setup.doctor_checks"]
)
def test_importing_us_imports_nothing_heavy(module):
    code = f"import sys, {module}\nprint(*{{'torch', 'nnunetv2', 'numpy', 'timm', 'matplotlib'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_the_package_holds_no_file_of_nnunet():
    """Not one non-empty module of ours is a copy."""
    own = {file.read_bytes() for file in Path(nnunet_ext.__file__).parent.rglob("*.py")}
    copied = own & {file.read_bytes() for file in STOCK.rglob("*.py") if file.stat().st_size}
    assert copied == set()
