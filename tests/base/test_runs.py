"""Short trainings in processes of their own: kills at random instants, and seeds.

20 kills, as in docs/results.md: NNUNET_EXT_KILLS=20 pytest -m slow tests/base/test_runs.py
"""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.pool
import os
import random
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from quick import be_quick

from nnunet_ext import sockets
from nnunet_ext.phantoms.dataset import write_phantom_dataset

pytestmark = pytest.mark.slow
EPOCHS = 5
KILLS = int(os.environ.get("NNUNET_EXT_KILLS", "4"))


def train(words: list[str], environment: dict[str, str], log: str) -> None:
    """Body of a child: nnU-Net's own entry point, its output in a file, pools of threads instead of processes."""
    os.environ.update(environment)
    sys.stdout = sys.stderr = Path(log).open("w", buffering=1)  # noqa: SIM115  (as long as the process)
    sys.argv = ["nnUNetv2_train", *words]
    torch.set_num_threads(1)
    multiprocessing.get_context = lambda *_: ThreadPools
    be_quick(pytest.MonkeyPatch())
    from nnunetv2.run.run_training import run_training_entry

    run_training_entry()


class ThreadPools:
    """Stands in for a multiprocessing context."""

    Pool = multiprocessing.pool.ThreadPool


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("kills")
    variables = {name: str(root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    variables |= {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1", sockets.VARIABLE: str(sockets.folder("trainers"))}
    write_phantom_dataset(root / "nnUNet_raw", "Dataset991_Kills", cases=5, shape=(16, 32, 32))
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        from nnunet_ext.cli.main import main

        knobs = [f"num_epochs={EPOCHS}", "num_iterations_per_epoch=2", "num_val_iterations_per_epoch=1"]
        assert (
            main(
                [
                    "plan_and_preprocess",
                    "-d",
                    "991",
                    "-pl",
                    "LitePlanner",
                    "-c",
                    "3d_fullres",
                    "-npfp",
                    "1",
                    "-np",
                    "1",
                    "--no_pbar",
                    "--set",
                    *knobs,
                ]
            )
            == 0
        )
    finally:
        os.environ.clear()
        os.environ.update(before)
    return variables | {"nnUNet_n_proc_DA": "0"}


@pytest.fixture(scope="module")
def server():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nnunetv2.run.run_training", "nnunet_ext.methods.ba_net.trainer", "timm.layers"])
    return context


def epochs(log: Path) -> list[int]:
    return [int(number) for number in re.findall(r": Epoch (\d+)", log.read_text())]


def test_killed_runs_finish_and_never_start_over(environment, server, tmp_path, record_property):
    words = ["991", "3d_fullres", "0", "-tr", "BANetTrainer", "-p", "LitePlans", "-device", "cpu"]
    folder = Path(environment["nnUNet_results"]) / "Dataset991_Kills/BANetTrainer__LitePlans__3d_fullres/fold_0"
    for _ in range(2):  # the first run waits for the server's imports; the second is timed
        shutil.rmtree(folder.parent, ignore_errors=True)
        whole = server.Process(target=train, args=(words, environment, str(tmp_path / "whole.txt")))
        start = time.monotonic()
        whole.start()
        whole.join()
        duration = time.monotonic() - start
        assert whole.exitcode == 0, (tmp_path / "whole.txt").read_text()[-3000:]

    rng, killed, with_checkpoint = random.Random(1), 0, 0
    for kill in range(KILLS):
        shutil.rmtree(folder.parent)
        first, second = tmp_path / f"{kill}_killed.txt", tmp_path / f"{kill}_continued.txt"
        victim = server.Process(target=train, args=(words, environment, str(first)))
        victim.start()
        victim.join(rng.uniform(0, 1) * duration)
        victim.kill()
        victim.join()
        killed += victim.exitcode == -signal.SIGKILL
        had_checkpoint = any(folder.glob("checkpoint_*.pth"))
        with_checkpoint += had_checkpoint
        finished = len(re.findall("Epoch time", first.read_text())) if first.is_file() else 0
        survivor = server.Process(target=train, args=([*words, "--c"], environment, str(second)))
        survivor.start()
        survivor.join()
        assert survivor.exitcode == 0, second.read_text()[-3000:]
        assert (folder / "checkpoint_final.pth").is_file()
        assert (folder / "validation/summary.json").is_file()
        went_on_at = min(epochs(second), default=EPOCHS)
        assert went_on_at >= finished - 1
        if had_checkpoint:
            assert went_on_at > 0
    record_property(
        "kills", f"{killed} of {KILLS} before the end ({duration:.1f} s), {with_checkpoint} with a checkpoint"
    )
    assert killed >= KILLS / 2
    assert with_checkpoint > 0


def test_a_seed_repeats_a_run_and_another_does_not(environment, server, tmp_path):
    """With one worker process, as documented."""
    words = ["991", "3d_fullres", "1", "-tr", "BANetTrainer", "-device", "cpu", "-p"]
    preprocessed = Path(environment["nnUNet_preprocessed"]) / "Dataset991_Kills"
    plans = json.loads((preprocessed / "LitePlans.json").read_text())
    losses = []
    for run, seed in enumerate((5, 5, 6)):
        name = f"LiteSeeded{run}"
        plans["plans_name"] = name
        plans["nnunet_ext"]["seed"] = seed
        (preprocessed / f"{name}.json").write_text(json.dumps(plans))
        log = tmp_path / f"{run}.txt"
        child = server.Process(target=train, args=([*words, name], environment | {"nnUNet_n_proc_DA": "1"}, str(log)))
        child.start()
        child.join()
        assert child.exitcode == 0, log.read_text()[-3000:]
        model = Path(environment["nnUNet_results"]) / f"Dataset991_Kills/BANetTrainer__{name}__3d_fullres"
        checkpoint = torch.load(model / "fold_1/checkpoint_final.pth", weights_only=False)
        losses.append((checkpoint["logging"]["train_losses"], checkpoint["logging"]["val_losses"]))
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]
