"""Names of trainers and planners, stock and ours, checked before anything is started."""

from __future__ import annotations

import ast
import importlib.util
import os
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext import sockets
from nnunet_ext.errors import UserError, nearest, one_line

if TYPE_CHECKING:
    from nnunet_ext.base.trainer import ExtTrainer


def trainer_names() -> set[str]:
    """Return every name that ``-tr`` can take: stock, ours and those in the user's own folders."""
    found = class_names(nnunet_folder() / "training" / "nnUNetTrainer", imported=False)
    return found.union(sockets.names("trainers"), *map(class_names, door_folders()))


def planner_names() -> set[str]:
    """Return every name that ``-pl`` can take: ours and stock."""
    stock = class_names(nnunet_folder() / "experiment_planning", imported=False)
    return {name for name in stock if "Planner" in name} | set(sockets.names("planners"))


def check_trainer(name: str) -> None:
    """Refuse an unknown trainer.

    Raises:
        UserError: Unknown name; the nearest is suggested.
    """
    if name not in (legal := trainer_names()):
        raise UserError(f"-tr: unknown trainer {name!r}. {nearest(name, legal)}")


def ext_trainer(name: str) -> type[ExtTrainer] | None:
    """Return the class of a trainer that builds on ours, of this package or of another one; None for any other.

    Raises:
        UserError: nnU-Net's look-up of another package's trainer fails.
    """
    from nnunet_ext.base.trainer import ExtTrainer

    found: Any = None
    if name in sockets.names("trainers"):
        found = sockets.load("trainers", name)
    elif any(name in class_names(folder) for folder in door_folders()):
        from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

        try:
            found = recursive_find_trainer_class_by_name(name)
        except Exception as error:  # whatever other packages' modules raise as nnU-Net imports them
            raise UserError(
                f"-tr {name}: expected nnU-Net to find it, got {type(error).__name__}: {one_line(error)}. "
                f"See nnunet_ext doctor."
            ) from error
    return found if found is not None and issubclass(found, ExtTrainer) else None


def find_planner(name: str) -> type:
    """Return the planner class; our sockets come first, then nnU-Net.

    Raises:
        UserError: Unknown name; the nearest is suggested.
    """
    if name in sockets.names("planners"):
        return sockets.load("planners", name)
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = nnunet_folder() / "experiment_planning"
    planner = recursive_find_python_class(str(folder), name, current_module="nnunetv2.experiment_planning")
    if planner is None or not issubclass(planner, ExperimentPlanner):
        raise UserError(f"-pl: unknown planner {name!r}. {nearest(name, planner_names())}")
    return planner


def nnunet_folder() -> Path:
    """Return nnU-Net's folder.

    Raises:
        UserError: nnU-Net is not installed.
    """
    spec = importlib.util.find_spec("nnunetv2")
    if spec is None or spec.origin is None:
        raise UserError("nnunetv2: expected nnU-Net to be installed, found none. See nnunet_ext doctor.")
    return Path(spec.origin).parent


def door_folders() -> list[Path]:
    """Return the folders of ``nnUNet_extTrainer`` that nnU-Net looks into, in its order."""
    words = os.environ.get(sockets.VARIABLE, "").split(os.pathsep)
    return [Path(word) for word in words if word.strip() and Path(word).exists()]


def class_names(folder: Path, *, imported: bool = True) -> set[str]:
    """Return the names that nnU-Net would find in a folder's modules; they are read, not executed.

    As in nnU-Net's own search, packages' ``__init__`` are left out, and a name that a module imports or assigns counts
    like a class that it defines, unless ``imported`` is off.
    """
    names: set[str] = set()
    for module in pkgutil.iter_modules([str(folder)]):
        if module.ispkg:
            names |= class_names(folder / module.name, imported=imported)
        elif (file := folder / f"{module.name}.py").is_file():
            names |= set(_top_level_names(file, imported))
    return names


def _top_level_names(file: Path, imported: bool) -> Iterator[str]:
    try:
        body: Iterable[ast.stmt] = ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError):  # not our file; nnU-Net reports it when it imports it
        return
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield statement.name
        elif imported and isinstance(statement, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in statement.names)
        elif imported and isinstance(statement, ast.Assign):
            yield from (target.id for target in statement.targets if isinstance(target, ast.Name))
