"""Read the model that a fine-tuning starts from: a folder, a zip file, or a checkpoint."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nnunet_ext.data.dataset_json import read_dataset_json
from nnunet_ext.data.plans_file import read_plans
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.files.json_file import read_object
from nnunet_ext.fine_tuning.source.plain_json import plain_json
from nnunet_ext.fine_tuning.source.source_model import SourceModel, trained_configuration
from nnunet_ext.foreign.checkpoint import read_foreign_checkpoint
from nnunet_ext.foreign.class_names import check_class_names
from nnunet_ext.networks.parts import part_of
from nnunet_ext.nnssl.adaptation_plan import AdaptationPlan
from nnunet_ext.nnssl.encoder_weights import KEY, EncoderWeights
from nnunet_ext.prediction.model_zip import unpack_model
from nnunet_ext.prediction.trained_model import trained_folds
from nnunet_ext.weights.roles import restores_images
from nnunet_ext.weights.task_heads import task_heads
from nnunet_ext.weights.unwrapped import unwrapped

PLANS, DATASET = "plans.json", "dataset.json"
MIRRORING = "inference_allowed_mirroring_axes"
ADAPTATION, SPARSE = "adaptation_plan.json", "spark_weights"  # a file and a key of a checkpoint of nnssl's
ALL_AXES = (0, 1, 2)
NO_CLASSES = {"labels": {"background": 0}}  # what a network that restores images knows of its dataset's
V1 = {"state_dict", "epoch"}  # keys of a checkpoint of nnU-Net v1
KINDS = {"configurations": "plans", "labels": "dataset_json", "architecture_plans": "adaptation"}  # by a key of each
READERS = {"plans": read_plans, "dataset_json": read_dataset_json, "adaptation": read_object}


def read_source(
    places: Sequence[Path],
    unpacked: Path,
    *,
    fold: str | None = None,
    checkpoint: str = "checkpoint_final.pth",
    trust: bool = False,
) -> SourceModel:
    """Read a model.

    The plans and dataset.json beside a fold's folder win over those in its checkpoint: a task view's checkpoint is
    that of the whole collection. Of its heads, those of the view's task are read.

    Args:
        places: A model's folder ``TRAINER__PLANS__CONFIGURATION``; or a zip file with one; or a checkpoint, with its
            plans and dataset.json after it if they are neither in it nor beside it; or a checkpoint of nnssl, with its
            adaptation_plan.json after it if it is not in it, or a folder with both.
        unpacked: An empty folder, which a zip file is unpacked into and which must outlive the model.
        fold: The fold; by default ``all`` if it was trained, else 0. Scores do not choose: the fold with the best one
            had the easiest cases.
        checkpoint: Name of the checkpoint in a folder or zip file.
        trust: Unpickle everything that the checkpoint asks for, which may run code.

    Raises:
        UserError: There is no such model, something of it is missing, damaged or not safe, or it cannot be a source.
    """
    first, *others = places
    if not first.exists():
        raise UserError(
            f"--from {first}: expected a model's folder, its zip file or a checkpoint, found none. Correct it."
        )
    if others:
        return _of_checkpoint(first, _named(first, others), trust)
    if first.is_dir():
        return _of_folder(first, fold, checkpoint, trust)
    if _is_model_zip(first):
        return _of_folder(unpack_model(first, unpacked, checkpoint), fold, checkpoint, trust, first)
    return _of_checkpoint(first, _beside(first) or _Descriptions(), trust)


@dataclass(frozen=True)
class _Descriptions:
    """What else is there of a checkpoint's plans and dataset.json."""

    plans: dict[str, Any] | None = None
    dataset_json: dict[str, Any] | None = None
    adaptation: dict[str, Any] | None = None  # of nnssl


def _named(checkpoint: Path, files: Sequence[Path]) -> _Descriptions:
    """Read the files after a checkpoint, in any order."""
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        content = read_object(file) if file.is_file() else {}
        kind = next((kind for key, kind in KINDS.items() if key in content), None)
        if kind is None or kind in found:
            raise UserError(
                f"--from {checkpoint} {file}: expected its plans.json or dataset.json, each at most once, found "
                f"{'another file' if file.is_file() else 'no file'}. Give --from CHECKPOINT PLANS [DATASET_JSON]."
            )
        found[kind] = READERS[kind](file)
    return _Descriptions(**found)


def _beside(file: Path) -> _Descriptions | None:
    """Read plans and dataset.json of the model's folder that a checkpoint is in, or nnssl's adaptation plan."""
    model = file.absolute().parent.parent
    if not file.absolute().parent.name.startswith("fold_"):
        return None
    if _is_of_nnssl(model):
        return _Descriptions(adaptation=read_object(model / ADAPTATION))
    if not all((model / name).is_file() for name in (PLANS, DATASET)):
        return None
    return _Descriptions(read_plans(model / PLANS), read_dataset_json(model / DATASET))


def _is_of_nnssl(model: Path) -> bool:
    """Whether a folder is that of a pre-training; nnU-Net's have a dataset.json."""
    return (model / ADAPTATION).is_file() and not (model / DATASET).is_file()


def _is_model_zip(file: Path) -> bool:
    """Checkpoints are zip files, too."""
    if file.suffix == ".zip":
        return True
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.rpartition("/")[2] == PLANS for name in archive.namelist())
    except zipfile.BadZipFile:  # reported when it is read as a checkpoint
        return False


def _of_folder(model: Path, fold: str | None, checkpoint: str, trust: bool, shown: Path | None = None) -> SourceModel:
    of_nnssl = _is_of_nnssl(model)
    if not of_nnssl and not all((model / name).is_file() for name in (PLANS, DATASET)):
        inside = sorted(str(path.parent.relative_to(model)) for path in model.glob(f"*__*__*/{PLANS}"))
        remedy = f"Give one of the models in it: {', '.join(inside)}." if inside else "Give the folder with fold_0."
        raise UserError(f"--from {model}: expected a model's folder with {PLANS} and {DATASET}, found none. {remedy}")
    if of_nnssl and (file := model / checkpoint).is_file():  # as downloaded, without folds
        return _of_checkpoint(file, _Descriptions(adaptation=read_object(model / ADAPTATION)), trust, shown)
    folds = _folds(model, checkpoint)
    chosen = fold or ("all" if "all" in folds else "0")
    if chosen not in folds:
        others = sorted({path.name for path in model.glob("fold_*/*.pth")})
        remedy = (
            f"Give --fold {' or '.join(folds)}."
            if folds
            else f"Give -chk {' or '.join(others) or 'of a finished fold'}."
        )
        raise UserError(f"--from {shown or model}: expected {checkpoint} of fold {chosen}, found none. {remedy}")
    descriptions = (
        _Descriptions(adaptation=read_object(model / ADAPTATION))
        if of_nnssl
        else _Descriptions(read_plans(model / PLANS), read_dataset_json(model / DATASET))
    )
    return _of_checkpoint(model / f"fold_{chosen}" / checkpoint, descriptions, trust, shown)


def _folds(model: Path, checkpoint: str) -> list[str]:
    """Return all trained folds, ``all`` among them; nnU-Net would use it only where there is no other."""
    numbers = [name for name in trained_folds(model, checkpoint) if name != "all"]
    return [*numbers, *(["all"] if (model / "fold_all" / checkpoint).is_file() else [])]


def _of_checkpoint(file: Path, descriptions: _Descriptions, trust: bool, shown: Path | None = None) -> SourceModel:
    content = read_foreign_checkpoint(file, trust=trust)
    shown = shown or file
    _check(content, shown)
    restores = restores_images(content.get("init_args"))
    pretrained = descriptions.adaptation if content.get(KEY) is None else content[KEY]
    if restores:  # a pre-training of ours has the decoder, too
        pretrained = None
    if pretrained is not None:
        return _of_nnssl(content, pretrained, shown, trust)
    found = content.get("init_args")
    arguments = _plain(found, shown) if isinstance(found, dict) else {}
    plans = descriptions.plans or arguments.get("plans")
    if not isinstance(plans, dict) or not isinstance(plans.get("configurations"), dict):
        if SPARSE in content:
            raise UserError(
                f"--from {shown}: expected a checkpoint of nnssl with {KEY!r}, found one of a sparse network "
                f"({SPARSE}) without it. Add it with nnssl's add_adaptation_plan, or give --from {file.name} "
                f"{ADAPTATION}"
            )
        raise UserError(
            f"--from {shown}: expected a checkpoint that holds its plans, found none. Give them after it: --from "
            f"{file.name} plans.json dataset.json"
        )
    if not trust:
        check_class_names(plans, shown)
    weights = task_heads(unwrapped(content["network_weights"]), plans)
    axes = content.get(MIRRORING)
    dataset_json = descriptions.dataset_json or arguments.get("dataset_json")
    if restores:
        weights = {name: tensor for name, tensor in weights.items() if part_of(name) != "head"}
        dataset_json = None if dataset_json is None else dataset_json | NO_CLASSES
    return SourceModel(
        shown,
        plans,
        trained_configuration(shown, arguments, plans, weights),
        dataset_json,
        weights,
        str(content.get("trainer_name", "")),
        None if axes is None else tuple(int(axis) for axis in axes),
    )


def _of_nnssl(content: Mapping[str, Any], pretrained: Any, shown: Path, trust: bool) -> SourceModel:
    """Take encoder and stem of a network that nnssl pre-trained; other parts are not known to help a segmentation."""
    try:
        described = plain_json(pretrained)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"--from {shown}: expected {KEY} of text and numbers, got {one_line(error)!r}. Take the checkpoint as "
            f"nnssl wrote it."
        ) from error
    adaptation = AdaptationPlan.read(described, f"--from {shown}")
    encoder = EncoderWeights.read(described, unwrapped(content["network_weights"]), f"--from {shown}")
    plans = adaptation.plans(encoder, f"--from {shown}")
    if not trust:
        check_class_names(plans, shown)
    name, trainer = adaptation.configuration, str(content.get("trainer_name", ""))
    return SourceModel(shown, plans, name, None, encoder.weights, trainer, ALL_AXES, adaptation)


def _plain(arguments: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return what is needed of a trainer's arguments."""
    needed = {key: arguments[key] for key in ("plans", "configuration", "dataset_json") if key in arguments}
    try:
        found: dict[str, Any] = plain_json(needed)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"--from {file}: expected plans and dataset.json of text and numbers in init_args, got "
            f"{one_line(error)!r}. Give them after it: --from {file.name} plans.json dataset.json"
        ) from error
    return found


def _check(content: Any, file: Path) -> None:
    """Refuse other checkpoints than those of nnU-Net v2, by name."""
    keys = content.keys() if isinstance(content, dict) else set()
    if keys >= V1:
        raise UserError(
            f"--from {file}: expected a checkpoint of nnU-Net v2, found one of v1 (state_dict, epoch). Convert it "
            f"first, with nnunet_ext import_v1."
        )
    if "network_weights" not in keys:
        raise UserError(
            f"--from {file}: expected a checkpoint of nnU-Net v2, found no 'network_weights' in it. Give a "
            f"checkpoint_final.pth of a training."
        )
    weights = content["network_weights"]
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise UserError(
            f"--from {file}: expected tensors by name under 'network_weights', found {type(weights).__name__} with "
            f"other values. Copy the file again, or give another."
        )
    axes = content.get(MIRRORING)
    if axes is not None and not (isinstance(axes, list | tuple) and all(isinstance(axis, int) for axis in axes)):
        raise UserError(
            f"--from {file}: expected axes or None under {MIRRORING!r}, found {str(axes)[:40]!r}. Copy the file again, "
            f"or give another."
        )
