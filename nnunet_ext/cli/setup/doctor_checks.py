"""What ``nnunet_ext doctor`` checks: one small function per check, each safe to call on a broken machine."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import io
import os
import pickle
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import nnunet_ext
from nnunet_ext import sockets
from nnunet_ext.base.method import registered_methods
from nnunet_ext.cli.setup.check import BROKEN_IMPORT, FAIL, OK, WARN, Check, version_numbers
from nnunet_ext.cli.setup.doctor_foreign import check_foreign
from nnunet_ext.data.environment import variable_problem
from nnunet_ext.errors import one_line
from nnunet_ext.processes.cores import usable_cores
from nnunet_ext.stock.folders import VARIABLES

OLDEST_PYTHON = (3, 10)
REINSTALL = "install nnunet_ext again, from the same source"


def check_python() -> Check:
    """Python is 3.10 or newer."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Check("Python", FAIL, f"expected 3.10 or newer, got {version}", "make a new environment with it")
    return Check("Python", OK, version)


def check_nnunet() -> Check:
    """nnU-Net is installed, complete and of a version that we support."""
    install = 'pip install "nnunetv2>=2.8,<2.9"'
    spec = importlib.util.find_spec("nnunetv2")
    if spec is None:
        return Check("nnU-Net", FAIL, "nnunetv2 is not installed", install)
    if spec.origin is None:
        place = next(iter(spec.submodule_search_locations or ()), "?")
        return Check("nnU-Net", FAIL, f"{place} is an empty leftover, not a package", f"remove that folder, {install}")
    version = _version("nnunetv2")
    if version is None:
        return Check("nnU-Net", WARN, f"{spec.origin} has no version: it was not installed by pip", install)
    if version_numbers(version) < (2, 8):
        return Check(
            "nnU-Net", FAIL, f"nnunetv2 {version} is too old: before 2.8 it ignores nnUNet_extTrainer", install
        )
    if version_numbers(version) >= (2, 9):
        upgrade = f"a newer nnunet_ext, or {install}"
        return Check("nnU-Net", FAIL, f"nnunetv2 {version} is newer than 2.8, for which this is made", upgrade)
    return Check("nnU-Net", OK, f"nnunetv2 {version}")


def check_rival() -> Check:
    """No other package has our import name (Lifelong-nnUNet has)."""
    own = Path(nnunet_ext.__file__).resolve().parent
    folders = {Path(place).resolve() / "nnunet_ext" for place in sys.path if place}
    rivals = {str(folder) for folder in folders if folder != own and (folder / "__init__.py").is_file()}
    distributions = importlib.metadata.packages_distributions().get("nnunet_ext", [])
    rivals |= {name for name in distributions if re.sub(r"[-_.]+", "-", name).lower() != "nnunet-ext"}
    if rivals:
        message = f"also provided by {', '.join(sorted(rivals))}"
        remedy = "uninstall it (Lifelong-nnUNet has this import name too), or use separate environments"
        return Check("import name nnunet_ext", FAIL, message, remedy)
    return Check("import name nnunet_ext", OK, str(own))


def check_folder(variable: str) -> Check:
    """One of nnU-Net's three folders is set, exists, and is writable if nnU-Net writes into it."""
    value = os.environ.get(variable)
    if not value or not value.strip():
        return Check(
            variable, FAIL, "is unset", f"export {variable}=/your/folder (and put it into your shell's profile)"
        )
    if (problem := variable_problem(variable)) is not None:
        found, _, remedy = problem.removeprefix(f"{variable}={value}: ").rpartition(". ")
        return Check(variable, FAIL, f"{value}: {found}", remedy)
    if not Path(value).is_dir():
        return Check(variable, FAIL, f"{value} does not exist", f"mkdir -p {value}, or correct the variable")
    try:
        with tempfile.TemporaryFile(dir=value):
            pass
    except OSError as error:
        status = WARN if variable == "nnUNet_raw" else FAIL  # nnU-Net only reads raw data
        remedy = "correct its permissions, free space, or point the variable elsewhere"
        return Check(variable, status, f"{value} cannot be written: {error.strerror}", remedy)
    if not Path(value).is_absolute():
        message = f"{value} is relative: it depends on where a command is started"
        return Check(variable, WARN, message, f"export {variable}={Path(value).resolve()}")
    return Check(variable, OK, value)


def check_door() -> Check:
    """``nnUNet_extTrainer`` names our folder, and only folders that exist."""
    remedy = 'export nnUNet_extTrainer="$(nnunet_ext sockets)"'
    try:
        own = sockets.folder("trainers").resolve()
    except FileNotFoundError as error:
        return Check("trainers folder", FAIL, str(error), REINSTALL)
    value = os.environ.get(sockets.VARIABLE)
    if not value:
        return Check(
            "trainers folder", FAIL, f"{sockets.VARIABLE} is unset, stock commands cannot find our trainers", remedy
        )
    places = [Path(word) for word in value.split(os.pathsep) if word.strip()]
    if own not in [place.resolve() for place in places]:
        message = f"{sockets.VARIABLE}={value} does not name {own}"
        return Check("trainers folder", FAIL, message, f'{remedy[:-1]}{os.pathsep}${sockets.VARIABLE}"')
    missing = [str(place) for place in places if not place.exists()]
    if missing:
        message = f"{', '.join(missing)} in {sockets.VARIABLE} does not exist; nnU-Net skips it silently"
        return Check("trainers folder", WARN, message, "correct or remove it")
    return Check("trainers folder", OK, f"{sockets.VARIABLE}={value}")


def check_sockets(kind: str) -> Check:
    """Every name of ours can be imported, and its class pickled, which worker processes need."""
    try:
        names = sockets.names(kind)
    except FileNotFoundError as error:
        return Check(kind, FAIL, str(error), REINSTALL)
    problems = [problem for name in names if (problem := _socket_problem(kind, name))]
    if problems:
        return Check(kind, FAIL, "; ".join(problems), f"fix the package that this names, or {REINSTALL}")
    return Check(kind, OK, ", ".join(names))


def _socket_problem(kind: str, name: str) -> str | None:
    try:
        found = sockets.load(kind, name)
        if pickle.loads(pickle.dumps(found)) is not found:
            return f"{name} is another class after pickling"
    except (*BROKEN_IMPORT, pickle.PicklingError) as error:
        return f"{name} does not load: {type(error).__name__}: {one_line(error)}"
    return None


def check_look_up() -> Check:
    """nnU-Net itself finds our trainers where our folder is first; it imports all of its own on the way."""
    name = "nnU-Net's look-up"
    before = os.environ.get(sockets.VARIABLE)
    try:
        sockets.open_door()
        from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

        with redirect_stdout(io.StringIO()):
            for trainer in sockets.names("trainers"):
                found = recursive_find_trainer_class_by_name(trainer)
                if found is not sockets.load("trainers", trainer):
                    place = getattr(sys.modules.get(found.__module__), "__file__", found.__module__)
                    remedy = "remove or rename the foreign trainer of that name"
                    return Check(name, FAIL, f"finds {place} for {trainer}", remedy)
    except (*BROKEN_IMPORT, AssertionError) as error:
        return Check(name, FAIL, f"fails: {type(error).__name__}: {one_line(error)}", "fix the package that this names")
    finally:
        if before is None:
            os.environ.pop(sockets.VARIABLE, None)
        else:
            os.environ[sockets.VARIABLE] = before
    return Check(name, OK, "finds all our trainers if our folder is first")


def check_methods() -> Check:
    """The methods that other packages register can be imported."""
    name = "other methods"
    found, problems = registered_methods()
    if problems:
        return Check(name, FAIL, "; ".join(problems), "correct or remove the package that this names")
    return Check(name, OK, ", ".join(sorted(found)) or "none registered")


def check_timm() -> Check:
    """timm is installed, new enough, and fits torch: nnU-Net imports it before it looks for external trainers."""
    install = 'pip install -U "timm>=1.0"'
    version = _version("timm")
    if version is None:
        return Check("timm", FAIL, "not installed; nnU-Net's look-up of our trainers needs timm.layers", install)
    if version_numbers(version) < (1, 0):
        return Check("timm", FAIL, f"{version} is too old; nnU-Net's look-up of our trainers needs 1.0", install)
    try:
        importlib.import_module("timm.layers")
    except BROKEN_IMPORT as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        if "torchvision" in reason:
            message = f"{version} cannot be imported: torchvision is built for another torch ({reason})"
            remedy = "pip install -U torch torchvision, both in one command and from one index"
            return Check("timm", FAIL, message, remedy)
        return Check("timm", FAIL, f"{version} cannot be imported: {reason}", install)
    return Check("timm", OK, version)


def check_torch() -> Check:
    """Torch can be imported and has a GPU."""
    try:
        import torch
    except BROKEN_IMPORT as error:
        return Check(
            "torch",
            FAIL,
            f"cannot be imported: {type(error).__name__}: {one_line(error)}",
            'pip install -U "torch>=2.6"',
        )
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Check("torch", OK, f"{torch.__version__}, {torch.cuda.get_device_name(0)}, {memory:.0f} GB")
    device = "mps" if torch.backends.mps.is_available() else "cpu"
    remedy = f"train with -device {device}, on small plans: nnunet_ext plan_and_preprocess -pl LitePlanner"
    return Check("torch", WARN, f"{torch.__version__} without a CUDA GPU", remedy)


def check_loaders() -> Check:
    """nnU-Net starts no more loading processes than there are cores that it may use, and at least one."""
    variable = "nnUNet_n_proc_DA"
    if os.environ.get(variable, "").strip() == "0":
        message = "0 trains without workers but breaks planning (torch needs one thread)"
        return Check(variable, FAIL, message, f"export {variable}=1")
    return _check_number(variable, min(12, os.cpu_count() or 1))  # nnU-Net counts cores that it may not use


def check_processes() -> Check:
    """nnU-Net starts no more other processes than there are cores that it may use."""
    return _check_number("nnUNet_def_n_proc", 8)


def _check_number(variable: str, default: int) -> Check:
    value, cores = os.environ.get(variable, str(default)), usable_cores()
    origin = "" if variable in os.environ else " (nnU-Net's default)"
    remedy = f"export {variable}={cores}"
    if not value.strip().isdecimal():
        return Check(variable, FAIL, f"expected a number of processes, got {value!r}", remedy)
    if int(value) > cores:
        return Check(variable, WARN, f"{value}{origin} is more than the {cores} usable cores", remedy)
    return Check(variable, OK, f"{value}{origin} on {cores} usable cores")


def check_distutils() -> Check:
    """nnU-Net's preprocessing imports distutils, which since Python 3.12 comes with setuptools only."""
    if importlib.util.find_spec("distutils") is None:
        return Check("distutils", FAIL, "missing; nnU-Net's preprocessing imports it", "pip install setuptools")
    return Check("distutils", OK, "present")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


CHECKS: tuple[Callable[[], Check], ...] = (
    check_python,
    check_nnunet,
    check_rival,
    check_distutils,
    check_torch,
    check_timm,
    check_door,
    check_foreign,
    partial(check_sockets, "trainers"),
    partial(check_sockets, "planners"),
    check_look_up,
    check_methods,
    *(partial(check_folder, variable) for variable in VARIABLES),
    check_loaders,
    check_processes,
)
