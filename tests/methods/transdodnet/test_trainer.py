"""TransDoDNet from planning to predicted labels on a small collection, through the commands."""

from __future__ import annotations

import json
import math
import multiprocessing
import re
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from nnunetv2.run.run_training import run_training_entry
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext import sockets
from nnunet_ext.base.checkpoints import read_checkpoint
from nnunet_ext.cli.main import main
from nnunet_ext.errors import UserError
from nnunet_ext.methods.transdodnet.trainer import TransDoDNetTrainer
from nnunet_ext.phantoms.collection import write_phantom_collection
from nnunet_ext.stock.entry_points import run_stock

PLANS = "CollectionLitePlans"
KNOBS = {
    "num_epochs": 1,
    "num_iterations_per_epoch": 4,
    "num_val_iterations_per_epoch": 2,
    "transdodnet.hidden_channels": 16,
    "transdodnet.encoder_layers": 1,
    "transdodnet.decoder_layers": 1,
}
SMALL = {"levels": 1, "head_width": 5, "head_depth": 2, "deep_supervision": False}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of nnU-Net with two members of one and two channels, raw."""
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv(sockets.VARIABLE, str(sockets.folder("trainers")))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    # a spawned worker imports for ten seconds
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: SimpleNamespace(Pool=ThreadPool))
    monkeypatch.setattr("nnunetv2.utilities.utils.Pool", ThreadPool)
    write_phantom_collection(tmp_path / "raw", members=2, cases=5, unseen=1, shape=(18, 20, 20))
    collect(tmp_path, 900, {"organs": "Dataset901_Organs", "lesion": "Dataset902_Lesion"})
    return tmp_path


def collect(root: Path, number: int, tasks: dict[str, str], **manifest: str) -> None:
    file = root / "raw" / f"Dataset{number}_Phantoms" / "dataset.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"tasks": {name: {"dataset": dataset} for name, dataset in tasks.items()}} | manifest))


def prepare(number: int, **knobs: object) -> None:
    words = ["-d", str(number), "-pl", "CollectionLitePlanner", "-npfp", "1", "-np", "1", "--no_pbar", "--no_check"]
    assignments = [f"{key}={json.dumps(value)}" for key, value in (KNOBS | knobs).items()]
    assert main(["plan_and_preprocess", *words, "--set", *assignments]) == 0


def train(number: int) -> None:
    words = [str(number), "3d_fullres", "0", "-tr", "TransDoDNetTrainer", "-p", PLANS, "-device", "cpu"]
    run_stock("nnUNetv2_train", run_training_entry, words)


def fold_of(root: Path, number: int) -> Path:
    return root / "results" / f"Dataset{number}_Phantoms" / f"TransDoDNetTrainer__{PLANS}__3d_fullres" / "fold_0"


@pytest.mark.slow
def test_training_prediction_and_a_new_task(root):
    prepare(900)
    train(900)
    checkpoint = read_checkpoint(fold_of(root, 900) / "checkpoint_final.pth")
    group = checkpoint["optimizer_state"]["param_groups"][0]
    assert (group["betas"], group["lr"], group["weight_decay"]) == ((0.9, 0.999), 2e-4, 1e-4)
    log = next(fold_of(root, 900).glob("training_log*")).read_text()
    assert re.search(r"controller: \d+\.\d % of 16 units below 0 for all queries", log)
    assert checkpoint["network_weights"]["queries.content"].shape == (2, 16)
    assert all(math.isfinite(loss) for loss in checkpoint["logging"]["train_losses"])
    for name in ("Dataset901_Organs", "Dataset902_Lesion"):
        view = root / "results" / name / f"TransDoDNetTrainer__{PLANS}_Dataset900_Phantoms__3d_fullres" / "fold_0"
        summary = json.loads((view / "validation" / "summary.json").read_text())
        assert math.isfinite(summary["foreground_mean"]["Dice"])
    words = ["-i", root / "raw" / "Dataset902_Lesion" / "imagesTs", "-o", root / "out", "-d", 902, "-f", 0, "-c"]
    words += ["3d_fullres", "-tr", "TransDoDNetTrainer", "-p", f"{PLANS}_Dataset900_Phantoms", "-device", "cpu"]
    words += ["-npp", 0, "-nps", 0, "--disable_progress_bar"]
    run_stock("nnUNetv2_predict", predict_entry_point, list(map(str, words)))
    assert len(list((root / "out").glob("*.nii.gz"))) == 1

    # the same network with a task more, which starts with the weights of the first
    write_phantom_collection(root / "more", members=4, cases=5, unseen=1, shape=(18, 20, 20))
    (root / "more" / "Dataset904_Lung").rename(root / "raw" / "Dataset904_Lung")
    tasks = {"lung": "Dataset904_Lung", "organs": "Dataset901_Organs", "lesion": "Dataset902_Lesion"}
    collect(root, 910, tasks, network_of="Dataset900_Phantoms")
    source = fold_of(root, 900) / "checkpoint_final.pth"
    prepare(910, init_from=str(source), num_iterations_per_epoch=1, initial_lr=1e-12)
    train(910)
    weights = read_checkpoint(fold_of(root, 910) / "checkpoint_final.pth")["network_weights"]
    assert weights["queries._extra_state"].tolist() == [1, 0, 0]
    for name in ("queries.content", "queries.position"):
        torch.testing.assert_close(weights[name][1:], checkpoint["network_weights"][name])


@pytest.mark.slow
def test_knobs_reach_the_network(root):
    prepare(900, **{f"transdodnet.{key}": value for key, value in SMALL.items()})
    planned = root / "preprocessed" / "Dataset900_Phantoms"
    plans, description = (json.loads((planned / f"{name}.json").read_text()) for name in (PLANS, "dataset"))
    manager = PlansManager(plans)
    network = TransDoDNetTrainer.build_network_architecture(
        manager, manager.get_configuration("3d_fullres"), 1, 1, enable_deep_supervision=False
    )
    assert len(network.projections) == 1
    assert network.head.depth == 2
    assert network.head.width == 5
    assert network.queries.content.shape == (2, 16)
    run = TransDoDNetTrainer(plans | {"continue_training": False}, "3d_fullres", 0, description, torch.device("cpu"))
    run.initialize()
    run.dataloader_train, _ = run.get_dataloaders()
    batch = next(run.dataloader_train)
    assert isinstance(batch["target"], torch.Tensor)
    assert math.isfinite(run.train_step(batch)["loss"])
    assert all(parameter.grad is not None for parameter in run.network.parameters())


def test_ordinary_plans_are_refused():
    manager = PlansManager({"plans_name": "LitePlans", "configurations": {"3d_fullres": {}}})
    with pytest.raises(UserError, match="TransDoDNetTrainer: expected plans of a collection, got 'LitePlans'"):
        TransDoDNetTrainer.build_network_architecture(manager, None, 1, 1)
