"""What is in a checkpoint, a model's folder, one of its folds, or a zip file of models."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from nnunet_ext.data.classes import summary_names
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_object
from nnunet_ext.foreign.checkpoint import read_foreign_checkpoint
from nnunet_ext.foreign.zip_file import ForeignZip
from nnunet_ext.inspection.checkpoint_facts import checkpoint_facts, trainer_facts
from nnunet_ext.inspection.plain_values import at, known, plain
from nnunet_ext.inspection.plans_facts import plans_facts

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth")
SUMMARY, DEBUG = "validation/summary.json", "debug.json"
FOLD = re.compile("fold_([0-9]+|all)")
OF_FOLD = ("fold", "epochs", "resumable")  # differ between the checkpoints of a model


def inspect_path(path: Path, *, trust: bool = False) -> dict[str, Any]:
    """Return what is in a file or folder, as JSON has it, without running code of it and without building a network.

    Args:
        path: A checkpoint (nnU-Net v2 or v1, nnssl), a folder ``TRAINER__PLANS__CONFIGURATION`` (also a task view),
            its ``fold_0``, or a zip file of models.
        trust: Unpickle everything that it asks for, which may run code.

    Returns:
        ``kind``, ``bytes`` and everything else that is known; ``folds`` of a model, ``models`` of a zip file.

    Raises:
        UserError: There is nothing, it is damaged, is no model, or asks for what may run code.

    Example:
        >>> inspect_path(Path("checkpoint_final.pth"))["trainer"]  # doctest: +SKIP
        'BANetTrainer'
    """
    if path.is_dir():
        facts = _of_fold_folder(path, trust) if FOLD.fullmatch(path.name) else _of_model(path, trust)
    elif not path.is_file():
        raise UserError(
            f"{path}: expected a checkpoint, a model's folder or a zip file of one, found none. Correct it."
        )
    elif path.suffix.lower() == ".zip" or _is_zip_of_models(path):
        facts = _of_zip(path, trust)
    else:
        facts = checkpoint_facts(read_foreign_checkpoint(path, trust=trust), path, trust=trust)
        if facts["kind"] == "no checkpoint":
            raise UserError(f"{path}: expected a checkpoint with weights, found none. Give another file.")
    return {"kind": facts.pop("kind"), "path": str(path), "bytes": _size(path), **facts}


def _of_model(folder: Path, trust: bool) -> dict[str, Any]:
    if not (folder / "plans.json").is_file():
        models = sorted(str(file.parent) for file in folder.glob("*__*__*/plans.json"))
        hint = f"Give one of {', '.join(models)}." if models else "Give TRAINER__PLANS__CONFIGURATION."
        raise UserError(f"{folder}: expected a model's folder with plans.json, found none. {hint}")
    plans, dataset_json = read_object(folder / "plans.json"), _json(folder / "dataset.json")
    folds = sorted(each for each in folder.glob("fold_*") if FOLD.fullmatch(each.name))
    found = [_of_fold(fold, dataset_json, trust) for fold in folds]
    name = folder.name.split("__")
    first: dict[str, Any] = next((facts for _, facts in found if facts), {})
    configuration = first.get("configuration") or (name[2] if len(name) == 3 else None)
    facts = plans_facts(plans, dataset_json, configuration)
    kind = "task view" if "task" in facts else "model of a collection" if "collection" in facts else "model"
    about = {key: first.get(key) for key in ("parameters_in_millions", "mirroring_axes", "made_from")}
    trainer = first.get("trainer") or (name[0] if len(name) == 3 else None)
    return known({"kind": kind, **trainer_facts(trainer), **facts, **about, "folds": [fold for fold, _ in found]})


def _of_fold_folder(folder: Path, trust: bool) -> dict[str, Any]:
    """Describe one fold with the plans and dataset.json of its model, if they are there."""
    dataset_json = _json(folder.parent / "dataset.json")
    fold, facts = _of_fold(folder, dataset_json, trust)
    if not facts:
        raise UserError(
            f"{folder}: expected a fold with one of {', '.join(CHECKPOINTS)}, found none. Finish a training."
        )
    planned = plans_facts(_json(folder.parent / "plans.json"), dataset_json, facts.get("configuration"))
    rest = {key: value for key, value in facts.items() if key not in (*OF_FOLD, "kind")}
    return {"kind": "one fold", **rest, **planned, "folds": [fold]}


def _of_fold(fold: Path, dataset_json: Any, trust: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is said of a fold, and what its first checkpoint says of the model."""
    found = {}
    for file in sorted(fold.glob("*.pth"), key=_final_first):
        found[file.name] = checkpoint_facts(read_foreign_checkpoint(file, trust=trust), file, trust=trust)
    first: dict[str, Any] = next(iter(found.values()), {})
    about = {
        "fold": fold.name.removeprefix("fold_"),
        "checkpoints": {name: known({key: facts.get(key) for key in OF_FOLD[1:]}) for name, facts in found.items()},
        "validation_dice": _dice(_json(fold / SUMMARY), dataset_json),
        "versions": _versions(_json(fold / DEBUG)),
    }
    return known(about), first


def _of_zip(file: Path, trust: bool) -> dict[str, Any]:
    with ForeignZip(file, of="model") as archive, tempfile.TemporaryDirectory(prefix="nnunet_ext_inspect_") as place:
        models = sorted(_models_in(archive.names))
        if not models:
            raise UserError(f"{file}: expected a model with plans.json and a fold, found none. Give another file.")
        for model in models:
            archive.extract([name for name in archive.names if _is_of(PurePosixPath(name), model)], Path(place))
        found = [{"path": str(model), **_of_model(Path(place) / model, trust)} for model in models]
    return {"kind": "zip file of models", "models": found}


def _models_in(names: list[str]) -> Iterator[PurePosixPath]:
    """Yield the folders with plans.json and a checkpoint in a fold."""
    paths = [PurePosixPath(name) for name in names]
    trained = {path.parent.parent for path in paths if path.suffix == ".pth" and FOLD.fullmatch(path.parent.name)}
    yield from {path.parent for path in paths if path.name == "plans.json"} & trained


def _is_of(path: PurePosixPath, model: PurePosixPath) -> bool:
    if path.parent == model:
        return path.name in ("plans.json", "dataset.json")
    inside = path.relative_to(model).parts if model in path.parents else ()
    if len(inside) < 2 or not FOLD.fullmatch(inside[0]):
        return False
    return "/".join(inside[1:]) in (SUMMARY, DEBUG) or (len(inside) == 2 and path.suffix == ".pth")


def _is_zip_of_models(file: Path) -> bool:
    """Tell a zip file of models from a checkpoint, which is a zip file as well."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(PurePosixPath(name).name == "plans.json" for name in archive.namelist())


def _dice(summary: Any, dataset_json: Any) -> dict[str, Any] | None:
    """Return the Dice of each class and their mean, by nnU-Net's own evaluation of the fold's validation cases."""
    means = at(summary, "mean")
    if not isinstance(means, dict):
        return None
    names = summary_names(dataset_json) if isinstance(at(dataset_json, "labels"), dict) else {}
    scores = {names.get(key, key): at(value, "Dice") for key, value in means.items()}
    return known(plain({"mean": at(summary, "foreground_mean", "Dice"), "classes": known(plain(scores))}))


def _versions(debug: Any) -> dict[str, str]:
    return {key.removesuffix("_version"): str(debug[key]) for key in ("torch_version",) if at(debug, key) is not None}


def _json(file: Path) -> dict[str, Any] | None:
    return read_object(file) if file.is_file() else None


def _final_first(file: Path) -> tuple[int, str]:
    return CHECKPOINTS.index(file.name) if file.name in CHECKPOINTS else len(CHECKPOINTS), file.name


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
