"""The two folders through which names reach nnU-Net: ``trainers/`` and ``planners/``.

nnU-Net looks for trainers in every folder named by ``nnUNet_extTrainer`` and discards the modules of that folder
afterwards. So the folders hold one re-export per file and no code. A wheel contains them as ``nnunet_ext/_sockets/``;
in a source checkout they are beside the package.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

VARIABLE = "nnUNet_extTrainer"


def folder(kind: str) -> Path:
    """Return the folder of ``"trainers"`` or ``"planners"``.

    Only what belongs to *this* package is ever returned, never a copy that another installation left behind.

    Raises:
        FileNotFoundError: The installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    checkout, wheel = package.parent / kind, package / "_sockets" / kind
    project = package.parent / "pyproject.toml"
    if project.is_file() and 'name = "nnunet_ext"' in project.read_text(encoding="utf-8") and checkout.is_dir():
        return checkout
    if wheel.is_dir():
        return wheel
    raise FileNotFoundError(f"{wheel}: expected the sockets of nnunet_ext, found no folder; install nnunet_ext again")


def names(kind: str) -> list[str]:
    """Return the names that ``-tr`` (``"trainers"``) or ``-pl`` (``"planners"``) can take, sorted; imports nothing."""
    return sorted(file.stem for file in folder(kind).glob("*.py"))


def load(kind: str, name: str) -> type:
    """Return the class behind a socket.

    Raises:
        KeyError: There is no such socket.
    """
    file = folder(kind) / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"_nnunet_ext_{kind}_{name}", file) if file.is_file() else None
    if spec is None or spec.loader is None:
        raise KeyError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def open_door() -> None:
    """Put our trainers' folder first in ``nnUNet_extTrainer`` of this process and its children; the user's stay."""
    own = str(folder("trainers"))
    others = [path for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path and path != own]
    os.environ[VARIABLE] = os.pathsep.join([own, *others])
