"""Who builds the network of a model's plans first looks at the classes that they name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import nnunet_ext

ROOT = Path(nnunet_ext.__file__).parent
BUILDS = ("get_network_from_plans", "build_network_architecture", "initialize_from_trained_model_folder")
CHECKS = ("check_class_names", "read_trained")
EXCEPTIONS = {
    "networks/unet.py": "of a trainer or planner, on plans that are trained here",
    "base/planner.py": "on plans that it writes itself",
    "methods/sequential_fine_tuning/trainer.py": "of a trainer, on plans that are trained here",
    "strategies/keeps_classes.py": "of a trainer, on plans that are trained here",
    "import_v1/v1_method.py": "on plans that it writes itself, from v1's numbers",
    "fine_tuning/source_network.py": "is given a SourceModel, whose plans read_source has checked",
    "prediction/parity/sides.py": "TrainedModel.load has read the model before both sides start",
}


def builders(tree: ast.AST) -> Iterator[str]:
    """Yield uses of the functions that build networks; of ``super()``, they are a trainer's own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in BUILDS:
            yield node.id
        elif isinstance(node, ast.Attribute) and node.attr in BUILDS:
            value = node.value
            of_super = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "super"
            if not of_super:
                yield node.attr


def checks(tree: ast.AST) -> bool:
    """Whether a module calls one of the functions that check plans, or TrainedModel.load."""
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {each.id for each in called if isinstance(each, ast.Name)}
    return bool(names & set(CHECKS)) or any(
        isinstance(each, ast.Attribute) and ast.unparse(each) == "TrainedModel.load" for each in called
    )


def modules() -> dict[str, ast.Module]:
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text()) for file in sorted(ROOT.rglob("*.py"))}


def test_each_module_that_builds_networks_checks_the_plans():
    building = {name: tree for name, tree in modules().items() if [*builders(tree)]}
    assert {"prediction/trained_model.py", "evaluation/boundary_map.py", "methods/uniseg/backbone.py"} <= set(building)
    assert [name for name, tree in building.items() if name not in EXCEPTIONS and not checks(tree)] == []
    assert set(EXCEPTIONS) <= set(building), "an exception that is none any more"


@pytest.mark.parametrize(
    ("source", "builds", "checked"),
    [
        ("trainer.build_network_architecture(1)", True, False),
        ("build = trainer(name).build_network_architecture", True, False),
        ("get_network_from_plans(1)\ncheck_class_names(2, 3)", True, True),
        ("predictor.initialize_from_trained_model_folder(a)\nTrainedModel.load(a)", True, True),
        ("super().build_network_architecture(1)", False, False),
        ("from a import check_class_names", False, False),
    ],
)
def test_what_is_found(source, builds, checked):
    tree = ast.parse(source)
    assert (bool([*builders(tree)]), checks(tree)) == (builds, checked)
