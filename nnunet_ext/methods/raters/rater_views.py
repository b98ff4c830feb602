"""Views of the raters: a model folder for each, with which nnU-Net's own commands predict what that rater would draw.

``nnUNet_results/Dataset004_Hippocampus/RatersTrainer__<P>_<rater>__3d_fullres`` has the model's files; its plans have
the knob ``raters.predict``. The checkpoints in its folds are the model's own, as a task view's are the collection's
(:mod:`nnunet_ext.collection.prediction.view_weights`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_ext.base.knobs import put, resolve
from nnunet_ext.collection.prediction.member_files import DESCRIPTION, FINGERPRINT, MemberFiles
from nnunet_ext.collection.prediction.view_weights import follow
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.files.json_file import read_object
from nnunet_ext.methods.raters.rater_table import raters_in, view_name


def check_rater_views(model: Path, plans: Mapping[str, Any]) -> None:
    """Refuse a folder at the place of a view that is not one: another training's.

    Args:
        model: ``RatersTrainer__<plans>__<configuration>``.
        plans: Its plans, which name the raters.

    Raises:
        UserError: There is one, or the model is a view itself.
    """
    configuration = model.name.rpartition("__")[2]
    if (rater := resolve(dict(plans), configuration)["raters"]["predict"]) is not None:
        raise UserError(f"{model}: expected a trained model, got the view of its rater {rater!r}. Name the model.")
    for rater in raters_in(plans)[0]:
        file = _view_of(model, rater) / "plans.json"
        if not file.is_file():
            continue
        if resolve(read_object(file), configuration)["raters"]["predict"] != rater:
            raise UserError(
                f"{file.parent}: expected the view of rater {rater!r} of {model.name}, or nothing, found another model "
                f"of that name. Rename that model, or use plans of another name (nnunet_ext variant)."
            )


def write_rater_views(model: Path, fold: int | str, *, how: str | None = None) -> list[Path]:
    """Write or renew the view of each rater for one fold of a trained model.

    Args:
        model: ``RatersTrainer__<plans>__<configuration>``.
        fold: The fold, which has a folder.
        how: ``"own"`` or ``"links"``, instead of what the plans say (knob ``multi_dataset.view_weights``).

    Returns:
        The views, in the order of the raters.

    Raises:
        UserError: The model has no heads of raters, lacks a file, is a view, another model has the place of a view, or
            nothing can be written.
    """
    plans, described, fingerprint = (read_object(model / name) for name in ("plans.json", DESCRIPTION, FINGERPRINT))
    check_rater_views(model, plans)
    _, plans_name, configuration = model.name.split("__")
    how = how or resolve(plans, configuration)["multi_dataset"]["view_weights"]
    views = []
    for rater in raters_in(plans)[0]:
        view = _view_of(model, rater)
        own = plans | {"plans_name": view_name(plans_name, rater), "nnunet_ext": dict(plans.get("nnunet_ext", {}))}
        own["nnunet_ext"]["raters"] = dict(own["nnunet_ext"].get("raters", {}))
        put(own, {"raters": {"predict": rater}})
        place = view / f"fold_{fold}"
        try:
            place.mkdir(parents=True, exist_ok=True)
            MemberFiles(model, own, described, fingerprint).write(view)
            follow(model / f"fold_{fold}", place, how, finished=True)
        except OSError as error:
            raise UserError(
                f"{view}: expected to write the view of rater {rater!r}, got {one_line(error)!r}. Free space or change "
                f"the folder's rights, then run nnunet_ext task_views."
            ) from error
        views.append(view)
    return views


def _view_of(model: Path, rater: str) -> Path:
    trainer, plans_name, configuration = model.name.split("__")
    return model.with_name(f"{trainer}__{view_name(plans_name, rater)}__{configuration}")
