"""Run in an environment under test: prints, as one line of JSON, which classes nnU-Net finds and where.

Words: ``stock`` for nnU-Net's own names, ``ours`` for those of our sockets.
"""

import contextlib
import json
import pickle
import re
import sys
from pathlib import Path

import nnunetv2
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

NNUNET = Path(nnunetv2.__path__[0])


def stock():
    """Return the module of each class that nnU-Net's own trainer and planner names lead to."""
    trainers = _classes("training/nnUNetTrainer", r"nnUNetTrainer\w*")
    planners = _classes("experiment_planning", r"\w*[pP]lanner\w*")
    folder = str(NNUNET / "experiment_planning")
    module = "nnunetv2.experiment_planning"
    return {
        "trainers": {name: recursive_find_trainer_class_by_name(name).__module__ for name in trainers},
        "planners": {name: recursive_find_python_class(folder, name, module).__module__ for name in planners},
    }


def ours():
    """Return what becomes of our names: (module, the same class twice, the same after pickling)."""
    from nnunet_ext import sockets
    from nnunet_ext.stock.lookup import find_planner

    kinds = {"trainers": recursive_find_trainer_class_by_name, "planners": find_planner}
    sockets.open_door()
    found = {kind: {name: _traits(find, name) for name in sockets.names(kind)} for kind, find in kinds.items()}
    stock_planners = {name: find_planner(name).__module__ for name in stock()["planners"]}
    folders = {kind: str(sockets.folder(kind)) for kind in kinds}
    return found | {"folders": folders, "stock planners by our look-up": stock_planners}


def _traits(find, name):
    first, second = find(name), find(name)
    return first.__name__, first.__module__, first is second, pickle.loads(pickle.dumps(first)) is first


def _classes(folder, pattern):
    """Names of classes, read from the source files."""
    sources = (file.read_text(encoding="utf-8") for file in (NNUNET / folder).rglob("*.py"))
    return sorted({name for text in sources for name in re.findall(rf"^class ({pattern})[(:]", text, re.MULTILINE)})


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        result = {"nnunetv2": str(NNUNET)} | {word: {"stock": stock, "ours": ours}[word]() for word in sys.argv[1:]}
    sys.stdout.write(json.dumps(result))
