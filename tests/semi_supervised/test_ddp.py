"""Two processes with gloo: BCP, pseudo-labels and self-training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_ext import sockets

HERE = Path(__file__)


def rank(out: Path, number: int) -> None:
    """What one process does; its findings go into a file."""
    import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as stock
    from torch import distributed

    wrap = stock.DDP
    stock.DDP = lambda network, device_ids: wrap(network)
    name, *given = json.loads((out / "given.json").read_text())
    trainer: Any = sockets.load("trainers", name)(*given, torch.device("cpu"))
    distributed.init_process_group("gloo", init_method=f"file://{out / 'store'}", rank=number, world_size=2)
    trainer.is_ddp, trainer.local_rank = True, number
    predicted, step, sizes = [], trainer.train_step, []
    if name != "BCPTrainer":
        from nnunet_ext.semi_supervised import predict as predicting

        predict = predicting._predict
        predicting._predict = lambda this, case, *rest: (predicted.append(case), predict(this, case, *rest))

    def notes(batch: dict[str, Any]) -> dict:
        sizes.append((len(batch["data"]), len(batch.get("unlabelled", ()))))
        return step(batch)

    trainer.train_step = notes
    trainer.run_training()
    seen = {
        "sizes": sizes,
        "predicted": predicted,
        "kept": getattr(trainer, "_kept", None),
        "losses": trainer.logger.get_value("train_losses", step=None),
        "parts": trainer.logger.get_value("pseudo_label_loss", step=None),
        "weights": trainer.bare_network.state_dict(),
    }
    torch.save(seen, out / f"rank{number}.pth")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(
    "configuration", ["2d", "3d_fullres"]
)  # with batch Dice, which gathers over ranks, and without
@pytest.mark.parametrize("name", ["BCPTrainer", "PseudoLabelTrainer", "SelfTrainingTrainer"])
def test_two_ranks(half_labelled: Callable[..., Any], tmp_path: Path, name: str, configuration: str) -> None:
    halves = {"checkpoint_halves": name == "BCPTrainer"}
    knobs = {"num_epochs": 2, "num_iterations_per_epoch": 2, "unlabelled": halves}
    trainer = half_labelled(sockets.load("trainers", name), configuration, **knobs)
    plans = trainer.plans_manager.plans | {"continue_training": False}
    if name == "BCPTrainer":
        plans["configurations"][configuration]["batch_size"] = 4
    (tmp_path / "given.json").write_text(json.dumps([name, plans, configuration, 0, trainer.dataset_json]))
    code = f"import runpy; runpy.run_path({str(HERE)!r})['rank'](__import__('pathlib').Path({str(tmp_path)!r}), {{}})"
    processes = [
        subprocess.Popen([sys.executable, "-c", code.format(number)], env=os.environ | {"OMP_NUM_THREADS": "1"})
        for number in (0, 1)
    ]
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"rank{number}.pth", weights_only=False) for number in (0, 1))
    for key in ("sizes", "kept", "losses", "parts"):
        assert first[key] == second[key]
    assert all(torch.equal(first["weights"][key], tensor) for key, tensor in second["weights"].items())
    assert first["parts"][1] != 0
    if name == "BCPTrainer":
        assert first["sizes"] == [(2, 2)] * 4
    else:
        assert first["sizes"] == [(1, 0)] * 2 + [(1, 1)] * 2
        times = 1 + (name == "SelfTrainingTrainer")  # it predicts early, too
        assert (len(first["predicted"]), len(second["predicted"])) == (2 * times, times)
        assert not set(first["predicted"]) & set(second["predicted"])
        places = sorted(Path(trainer.output_folder).glob("pseudo_labels*/"))
        assert [len(list(place.glob("*.pkl"))) for place in places] == [3] * times
    if name == "SelfTrainingTrainer":
        assert len(first["kept"]) == 2
