"""Names of trainers and planners, stock and ours, checked before anything is started."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nnunet_ext import sockets
from nnunet_ext.base.nearest import nearest
from nnunet_ext.errors import UserError


def trainer_names() -> set[str]:
    """Return every name that ``-tr`` can take: stock, ours and those in the user's own folders."""
    found = _classes(_nnunet() / "training" / "nnUNetTrainer", "nnUNetTrainer") | set(sockets.names("trainers"))
    for folder in os.environ.get(sockets.VARIABLE, "").split(os.pathsep):
        if folder and Path(folder) != sockets.folder("trainers"):
            found |= _classes(Path(folder), "")
    return found


def planner_names() -> set[str]:
    """Return every name that ``-pl`` can take: ours and stock."""
    stock = _classes(_nnunet() / "experiment_planning" / "experiment_planners", "")
    return {name for name in stock if "lanner" in name} | set(sockets.names("planners"))


def check_trainer(name: str) -> None:
    """Refuse an unknown trainer.

    Raises:
        UserError: Unknown name; the nearest is suggested.
    """
    if name not in (legal := trainer_names()):
        raise UserError(f"-tr: unknown trainer {name!r}. {nearest(name, legal)}")


def find_planner(name: str) -> type:
    """Return the planner class; our sockets come first, then nnU-Net.

    Raises:
        UserError: Unknown name; the nearest is suggested.
    """
    if name in sockets.names("planners"):
        return sockets.load("planners", name)
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = _nnunet() / "experiment_planning"
    planner = recursive_find_python_class(str(folder), name, current_module="nnunetv2.experiment_planning")
    if planner is None:
        raise UserError(f"-pl: unknown planner {name!r}. {nearest(name, planner_names())}")
    return planner


def _nnunet() -> Path:
    import nnunetv2

    return Path(nnunetv2.__path__[0])


def _classes(folder: Path, prefix: str) -> set[str]:
    """Class names in a folder's files; read, not imported."""
    pattern = re.compile(rf"^class ({prefix}\w*)|^from \S+ import (\w+)(?: as \w+)?$", re.MULTILINE)
    files = folder.rglob("*.py")
    matches = (match for file in files for match in pattern.finditer(file.read_text(encoding="utf-8")))
    return {match[1] or match[2] for match in matches if match[1] or (match[2] and not prefix)}
