"""Collections and their task views."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from stock import (
    PLANS,
    check_trained,
    companion,
    dataset_to_train,
    folder,
    log_of,
    model_plans,
    prepare,
    prepare_for,
    read_plans,
    run_folder,
    stock,
    train,
    trained,
    variant,
)

from nnunet_ext.cli.predictions.predict import Predict
from nnunet_ext.collection.task_table import member_plans_name
from nnunet_ext.errors import UserError

pytestmark = pytest.mark.slow
WHY = "the trainer knows no collections"


def train_view(trainer: str, *flags: object) -> None:
    """Run nnUNetv2_train on the member, with the plans that name its task."""
    stock(
        "nnUNetv2_train", prepare("plain"), "3d_fullres", 0, "-tr", trainer, "-p", model_plans(trainer, "plain"),
        "-device", "cpu", *flags,
    )  # fmt: skip


@contextmanager
def moved_away(path: Path) -> Iterator[None]:
    """A file or folder is gone for a while."""
    away = path.with_name(f"{path.name}.away")
    path.rename(away)
    try:
        yield
    finally:
        away.rename(path)


@contextmanager
def edited(file: Path, old: str, new: str) -> Iterator[None]:
    """A text file is another for a while."""
    before = file.read_text()
    assert old in before
    file.write_text(before.replace(old, new))
    try:
        yield
    finally:
        file.write_text(before)


@pytest.mark.row(
    "every member has a view with weights of its own and a row in the table over tasks", of="collections", why=WHY
)
def test_views(trainer: str) -> None:
    view = trained(trainer, "plain", "3d_fullres")
    run = run_folder(trainer, "plain", "3d_fullres") / "fold_0"
    other = Path(os.environ["nnUNet_results"], companion("plain"), view.parent.name, "fold_0")
    for fold in (view, other):
        check_trained(fold)
        own, shared = fold / "checkpoint_final.pth", run / "checkpoint_final.pth"
        assert not own.samefile(shared)
        assert own.read_bytes() == shared.read_bytes()
    scores = json.loads((run / "validation" / "tasks.json").read_text())
    assert {task: list(classes) for task, classes in scores.items()} == {
        "Companion": ["organ", "wall", "tumour"],
        "Phantom": ["organ", "wall", "tumour"],
    }
    assert "Validation of Phantom" in log_of(run)


@pytest.mark.row("--val on plans that name a task: the same summary.json", of="collections", why=WHY)
def test_validate_view(trainer: str) -> None:
    fold = trained(trainer, "plain", "3d_fullres")
    before = json.loads((fold / "validation" / "summary.json").read_text())["mean"]
    shutil.rmtree(fold / "validation")
    train_view(trainer, "--val", "--npz")
    check_trained(fold)
    assert json.loads((fold / "validation" / "summary.json").read_text())["mean"] == before


@pytest.mark.row("training on plans that name a task", of="collections", why=WHY)
def test_train_view(trainer: str, refuses: Any) -> None:
    fold = trained(trainer, "plain", "3d_fullres")
    before = (fold / "checkpoint_final.pth").read_bytes()
    with refuses(UserError, match="would overwrite the weights of all tasks"):
        train_view(trainer)
    assert (fold / "checkpoint_final.pth").read_bytes() == before


@pytest.mark.row("plans of an ordinary dataset", of="collections", why=WHY)
def test_no_collection(trainer: str, refuses: Any) -> None:
    with refuses(UserError, match="expected plans of a collection"):
        stock("nnUNetv2_train", prepare("plain"), "3d_fullres", 0, "-tr", trainer, "-p", PLANS, "-device", "cpu")


@pytest.mark.row("manifest edited after planning", of="collections", why=WHY)
def test_edited_manifest(trainer: str, refuses: Any) -> None:
    prepare_for(trainer, "plain")
    manifest = Path(os.environ["nnUNet_raw"], dataset_to_train(trainer, "plain"), "dataset.json")
    with edited(manifest, '"Companion"', '"Other"'), refuses(UserError, match="found a new task 'Other'"):
        train(trainer, "plain", "3d_fullres", plans=variant(trainer, "plain", "LiteEdited"))


@pytest.mark.row("preprocessed data of a member deleted", of="collections", why=WHY)
def test_deleted_member(trainer: str, refuses: Any) -> None:
    plans = read_plans(trainer, "plain")["plans_name"]
    name = member_plans_name(plans, dataset_to_train(trainer, "plain"))
    data = Path(os.environ["nnUNet_preprocessed"], companion("plain"), f"{name}_3d_fullres")
    with moved_away(data), refuses(UserError, match="found them deleted"):
        train(trainer, "plain", "3d_fullres", plans=variant(trainer, "plain", "LiteDeleted"))


@pytest.mark.row("member planned again since it was preprocessed", of="collections", why=WHY)
def test_planned_again(trainer: str, refuses: Any) -> None:
    plans = variant(trainer, "plain", "LitePlannedAgain")
    name = member_plans_name(plans, dataset_to_train(trainer, "plain"))
    file = Path(os.environ["nnUNet_preprocessed"], companion("plain"), f"{name}.json")
    with edited(file, "ZScoreNormalization", "NoNormalization"), refuses(UserError, match="planned again since"):
        train(trainer, "plain", "3d_fullres", plans=plans)


@pytest.mark.row("nnunet_ext predict with a view when the collection's model is gone", of="collections", why=WHY)
def test_collection_gone(trainer: str, tmp_path: Path) -> None:
    trained(trainer, "plain", "3d_fullres")
    with moved_away(run_folder(trainer, "plain", "3d_fullres")):
        Predict.parse(predict_words(trainer, folder("nnUNet_raw", "plain") / "imagesTs", tmp_path)).run()
    assert list(tmp_path.glob("*.nii.gz"))


@pytest.mark.row("nnunet_ext predict with images of another task's channels", of="collections", why=WHY)
def test_wrong_channels(trainer: str, refuses: Any, tmp_path: Path) -> None:
    trained(trainer, "plain", "3d_fullres")
    images = Path(os.environ["nnUNet_raw"], companion("plain"), "imagesTr")
    with refuses(UserError, match="expected 1 channel of case 'case_000'"):
        Predict.parse(predict_words(trainer, images, tmp_path)).run()


def predict_words(trainer: str, images: Path, out: Path) -> list[str]:
    """Return what follows ``nnunet_ext predict``."""
    words = [
        "-i", images, "-o", out, "-d", prepare("plain"), "-c", "3d_fullres", "-tr", trainer,
        "-p", model_plans(trainer, "plain"), "-f", 0, "-device", "cpu", "--disable_progress_bar",
    ]  # fmt: skip
    return [str(word) for word in words]
