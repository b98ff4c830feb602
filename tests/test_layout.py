"""The folders of the package: what may import what, and how much they hold."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import nnunet_ext

pytestmark = pytest.mark.smoke

ROOT = Path(nnunet_ext.__file__).parent
# each folder imports from those above it
ORDER = (
    "",
    "processes",
    "files",
    "foreign",
    "resampling",
    "data",
    "onnx_runner",
    "data.preprocessed",
    "networks",
    "weights",
    "nnssl",
    "seeding",
    "strategies",
    "base",
    "stock",
    "sites",
    "prediction",
    "prediction.ensemble",
    "prediction.parity",
    "adaptation",
    "dicom",
    "evaluation",
    "quality",
    "shifts",
    "next_cases",
    "phantoms",
    "semi_supervised",
    "semi_supervised.images_alone",
    "semi_supervised.masked",
    "semi_supervised.pseudo_labelled",
    "labels",
    "labels.raters",
    "labels.suspects",
    "labels.propagation",
    "collection",
    "collection.network",
    "collection.collect",
    "collection.planning",
    "collection.prediction",
    "collection.training",
    "inspection",
    "methods",
    "import_v1",
    "fine_tuning.source",
    "fine_tuning",
    "export",
    "comparison",
    "challenges",
    "challenges.conversion",
    "challenges.container",
    "challenges.packaging",
    "challenges.postprocessing",
    "cli.common",
    "cli.challenges",
    "cli.planning",
    "cli.data",
    "cli.models",
    "cli.predictions",
    "cli.setup",
    "cli",
)
MOST_LINES, MOST_MODULES, SHORT, MOST_SHORT = 300, 16, 20, 8


def name_of(file: Path) -> str:
    """``collection.training.trainer``; of a package the name of its folder."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").strip(".")


MODULES = {name_of(file): file for file in ROOT.rglob("*.py")}


def imported_by(file: Path) -> Iterator[str]:
    """Our modules that a module imports, anywhere in it, but for those that only annotations name."""
    for node in at_run_time(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            own = name.removeprefix("nnunet_ext").strip(".")
            if own != name:
                yield own if own in MODULES else own.rpartition(".")[0]


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes outside of ``if TYPE_CHECKING:``."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from at_run_time(child)


def folder_of(module: str) -> str:
    """The folder in :data:`ORDER` that a module is in; a method's package counts as ``methods``."""
    folder = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    return "methods" if folder.startswith("methods.") else folder


IMPORTS = {name: set(imported_by(file)) - {name, ""} for name, file in MODULES.items()}


def test_no_module_needs_itself() -> None:
    TopologicalSorter(IMPORTS).prepare()  # raises CycleError, which names them


@pytest.mark.parametrize("folder", sorted({folder_of(module) for module in MODULES}))
def test_folders_import_only_from_those_above(folder: str) -> None:
    allowed = ORDER[: ORDER.index(folder) + 1]
    wrong = {
        (module, other)
        for module, others in IMPORTS.items()
        for other in others
        if folder_of(module) == folder and folder_of(other) not in allowed
    }
    assert wrong == set()


def test_modules_are_short_and_not_too_short() -> None:
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
    short = [name for name, count in lines.items() if count < SHORT and MODULES[name].name != "__init__.py"]
    assert len(short) <= MOST_SHORT, (
        f"expected at most {MOST_SHORT} modules with fewer than {SHORT} lines, got {short}. Join one with the module "
        f"that uses it; if a new method's card is the one too many, raise MOST_SHORT."
    )


def test_folders_can_be_taken_in_at_a_glance() -> None:
    counts: dict[Path, int] = {}
    for file in MODULES.values():
        counts[file.parent] = counts.get(file.parent, 0) + (file.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > MOST_MODULES} == {}
