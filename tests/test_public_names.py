"""``from nnunet_ext import BANet``: public names are there, are documented with an example, and cost nothing before."""

from __future__ import annotations

import ast
import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import nnunet_ext

pytestmark = pytest.mark.smoke

NAMES = list(nnunet_ext.__all__)
NO_EXAMPLE = {"ExtPlanner", "ExtTrainer", "TaskNetwork", "CollectionPlanner", "MultiTaskTrainer", "UserError"}
NO_EXAMPLE |= {"SemiSupervisedTrainer", "TrainingStep", "MethodLoss", "Knob"}  # bases: CONTRIBUTING shows them in use


@pytest.mark.parametrize("name", NAMES)
def test_it_is_there(name: str) -> None:
    assert getattr(nnunet_ext, name).__name__ == name
    assert name in dir(nnunet_ext)


def test_type_checkers_are_told_the_same() -> None:
    tree = ast.parse(Path(nnunet_ext.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told == {name: f"nnunet_ext.{module}" for name, module in nnunet_ext._PUBLIC.items()}
    assert (Path(nnunet_ext.__file__).parent / "py.typed").is_file()


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'nnunet_ext' has no attribute 'BANett'"):
        nnunet_ext.BANett  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'BANett'"):
        exec("from nnunet_ext import BANett")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NO_EXAMPLE])
def test_its_example_runs(name: str) -> None:
    thing = getattr(nnunet_ext, name)
    module = importlib.import_module(thing.__module__)
    tests = [test for test in doctest.DocTestFinder().find(thing, name, module=module) if test.examples]
    assert tests, f"{name}: no example in its docstring"
    for test in tests:
        test.globs = {}
        assert doctest.DocTestRunner().run(test).failed == 0


def test_info_needs_no_torch() -> None:
    code = "import sys\nfrom nnunet_ext.cli.main import main\nmain(['info'])\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    code = "import sys\nfrom nnunet_ext.base.knobs import parse\nparse(['ba_net.boundary_width=5'])\n"
    code += "assert not {'torch', 'numpy', 'nnunetv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
