"""The private names of nnU-Net, batchgenerators and torch that the package uses, all of them, and what each must be.

They may change in any release. ``tools/against.sh`` runs these and the other fast tests against another nnU-Net.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import nnunet_ext
from nnunet_ext import sockets

PACKAGE = Path(nnunet_ext.__file__).parent
FOREIGN = ("nnunetv2.", "batchgenerators.", "batchgeneratorsv2.", "dynamic_network_architectures.", "torch.")
TRAINER = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer:nnUNetTrainer"
POOL = "batchgenerators.dataloading.multi_threaded_augmenter:MultiThreadedAugmenter"


@dataclass(frozen=True)
class PrivateName:
    """A private name.

    Args:
        owner: ``module:class``, or ``module`` that holds it.
        name: The name.
        use: What it is used for.
        parameters: Of a method or function, those that we rely on; None: an attribute, a class or a module.
    """

    owner: str
    name: str
    use: str
    parameters: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"{self.owner.rpartition(':')[2].rpartition('.')[2]}.{self.name}"


NAMES = (
    PrivateName(TRAINER, "_build_loss", "every method wraps the stock loss", ("self",)),
    PrivateName(TRAINER, "_do_i_compile", "BA-Net compiles its Dice loss where stock does", ("self",)),
    PrivateName(TRAINER, "_best_ema", "pseudo-labels: the second part chooses its own best checkpoint"),
    PrivateName(
        "nnunetv2.training.dataloading.data_loader:nnUNetDataLoader",
        "_data",
        "unlabelled cases get pseudo-labels from another folder",
    ),
    PrivateName(
        "nnunetv2.preprocessing.preprocessors.default_preprocessor:DefaultPreprocessor",
        "_sample_foreground_locations",
        "where the loader finds the foreground of pseudo-labels",
        ("seg", "classes_or_regions"),
    ),
    PrivateName(POOL, "_start", "pools start before the first batch is asked for", ("self",)),
    PrivateName(POOL, "_finish", "pools stop when their workers rest", ("self", "timeout", "force")),
    PrivateName("torch", "_dynamo", "the number of graphs that torch.compile may make"),
    PrivateName("torch._dynamo", "OptimizedModule", "a network without the wrapper of torch.compile"),
    PrivateName("torch._dynamo.eval_frame:OptimizedModule", "_orig_mod", "a network without that wrapper"),
    PrivateName(
        "torch.nn.modules.batchnorm",
        "_BatchNorm",
        "halves of a batch that are computed one after the other cannot share batch norm",
    ),
    PrivateName("torch:Tensor", "_version", "whether a weight was written to since it was adapted by LoRA"),
    PrivateName(
        "torch.nn:Module", "_metadata", "a copy of a checkpoint keeps the versions of layers that a state dict carries"
    ),
)
OF_NAMED_TUPLES = ("_asdict", "_field_defaults", "_fields", "_make", "_replace")  # public, for all their underscores
# attributes of these classes are taken for theirs, even if a class of ours has one of the same name
OWNERS = sorted({name.owner for name in NAMES if ":" in name.owner})


def load(owner: str) -> Any:
    module, _, name = owner.partition(":")
    loaded = importlib.import_module(module)
    return getattr(loaded, name) if name else loaded


def has(owner: Any, name: str) -> bool:
    """Whether a class or module has a name; instance attributes are looked for in the source."""
    return hasattr(owner, name) or any(f"self.{name} =" in text or f'"{name}"' in text for text in sources(owner))


@functools.cache
def sources(owner: Any) -> list[str]:
    """Return the code of a class and of those that it derives from."""
    classes = owner.__mro__ if inspect.isclass(owner) else ()
    return [source_of(base) for base in classes if base.__module__.startswith(FOREIGN)]


def source_of(cls: type) -> str:
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):  # written in C, or made by a function: it has no ``self.name = ...`` to be found
        return ""


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_it_is_there_and_takes_what_we_give_it(name: PrivateName) -> None:
    owner = load(name.owner)
    assert has(owner, name.name), f"{name}: gone; we use it because: {name.use}"
    if name.parameters is not None:
        found = inspect.signature(getattr(owner, name.name)).parameters
        assert set(name.parameters) <= set(found)
        others = [p for p in found.values() if p.name not in name.parameters and p.default is inspect.Parameter.empty]
        assert not [p for p in others if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in OF_NAMED_TUPLES


def trees() -> dict[Path, ast.Module]:
    return {file: ast.parse(file.read_text(encoding="utf-8")) for file in sorted(PACKAGE.rglob("*.py"))}


def own_names(tree: ast.AST) -> Iterator[str]:
    """Names that a module of ours defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(getattr(node, "ctx", None), ast.Store):
            if isinstance(node, ast.Name):
                yield node.id
            elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in ("self", "cls"):
                yield node.attr


def used_names(tree: ast.AST) -> Iterator[tuple[str, bool, int]]:
    """Private names that a module uses: name, whether on an object other than ``self``, line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            of = getattr(node.value, "id", "")
            if of not in sys.stdlib_module_names:  # os._exit is public
                yield node.attr, of not in ("self", "cls"), node.lineno
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(FOREIGN):
            inside = any(private(part) for part in (node.module or "").split("."))
            yield from ((alias.name, True, node.lineno) for alias in node.names if inside or private(alias.name))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "setattr", "hasattr"):
            word = node.args[1]
            if isinstance(word, ast.Constant) and private(str(word.value)):
                yield str(word.value), True, node.lineno


def unlisted(files: dict[Path, ast.Module], listed: set[str]) -> list[str]:
    """Uses of private names that are nobody's of ours, or an owner's, and not listed."""
    ours = {name for tree in files.values() for name in own_names(tree)}
    owners = [load(owner) for owner in OWNERS]
    return [
        f"{file.name}:{line}: {name}"
        for file, tree in files.items()
        for name, elsewhere, line in used_names(tree)
        if name not in listed and (name not in ours or (elsewhere and any(has(owner, name) for owner in owners)))
    ]


def test_no_other_private_name_is_used() -> None:
    assert unlisted(trees(), {name.name for name in NAMES}) == []


def test_all_that_are_listed_are_used() -> None:
    uses = [name for tree in trees().values() for name, _, _ in used_names(tree)]
    uses += [name for tree in trees().values() for name in own_names(tree)]  # overridden
    assert [str(name) for name in NAMES if name.name not in uses] == []


def test_the_search_finds_what_it_should() -> None:
    source = """
from torch._dynamo import OptimizedModule
from nnunetv2.somewhere import public, _hidden
class Ours:
    def _own(self):
        self._mine = 1
        self._foreign_hook()
        return self._mine, self._own(), loader._data, getattr(network, "_orig_mod", None)
"""
    found = unlisted({Path("x.py"): ast.parse(source)}, {"_data"})
    assert [line.partition(": ")[2] for line in found] == ["OptimizedModule", "_hidden", "_foreign_hook", "_orig_mod"]


def classes() -> Iterator[type]:
    """All classes of the package."""
    for module in pkgutil.walk_packages(nnunet_ext.__path__, "nnunet_ext."):
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if found.__module__ == module.name:
                yield found


@functools.cache
def written_in(ours: type) -> frozenset[str]:
    """Return the names that a class's own code defines, also on its instances."""
    tree = ast.parse(inspect.getsource(importlib.import_module(ours.__module__)))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == ours.__name__]
    return frozenset(name for node in nodes for name in own_names(node))


def test_no_private_name_of_ours_replaces_one_of_a_stock_class_by_accident() -> None:
    """A name that nnU-Net gives something of its own, perhaps in a later release, would silently be ours."""
    listed = {name.name for name in NAMES}
    taken = []
    for ours in classes():
        foreign = [base for base in ours.__mro__ if base.__module__.startswith(FOREIGN)]
        own = {name for base in ours.__mro__ if base.__module__.startswith("nnunet_ext.") for name in written_in(base)}
        for name in sorted(own - listed):
            if private(name) and any(has(base, name) for base in foreign):
                taken.append(f"{ours.__qualname__}.{name}")
    assert taken == []


def test_all_trainers_take_part() -> None:
    names = {found.__name__ for found in classes()}
    assert set(sockets.names("trainers")) <= names
