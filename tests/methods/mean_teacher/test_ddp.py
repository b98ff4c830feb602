"""Two processes with gloo: own batches, one student, one teacher."""

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

from nnunet_ext.methods.mean_teacher.trainer import MeanTeacherTrainer

HERE = Path(__file__)


def rank(out: Path, number: int) -> None:
    """What one process does; its findings go into a file."""
    import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as stock
    from torch import distributed

    wrap = stock.DDP
    stock.DDP = lambda network, device_ids: wrap(network)
    given = json.loads((out / "given.json").read_text())
    trainer = MeanTeacherTrainer(*given, torch.device("cpu"))
    distributed.init_process_group("gloo", init_method=f"file://{out / 'store'}", rank=number, world_size=2)
    trainer.is_ddp, trainer.local_rank = True, number
    step, batches = trainer.train_step, []

    def notes(batch: dict[str, Any]) -> dict:
        batches.append(batch)
        return step(batch)

    trainer.train_step = notes
    trainer.run_training()
    seen = {
        "batches": batches,
        "losses": trainer.logger.get_value("train_losses", step=None),
        "parts": trainer.logger.get_value("consistency_loss", step=None),
        "student": trainer.bare_network.state_dict(),
        "teacher": trainer.teacher().network.state_dict(),
    }
    torch.save(seen, out / f"rank{number}.pth")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(
    "configuration", ["2d", "3d_fullres"]
)  # with batch Dice, which gathers over ranks, and without
def test_two_ranks(half_labelled: Callable[..., Any], tmp_path: Path, configuration: str) -> None:
    knobs = {"unlabelled": {"batch_size": 3, "ramp": 0}, "mean_teacher": {"consistency_weight": 1}}
    trainer = half_labelled(MeanTeacherTrainer, configuration, **knobs)
    plans = trainer.plans_manager.plans | {"continue_training": False}
    (tmp_path / "given.json").write_text(json.dumps([plans, configuration, 0, trainer.dataset_json]))
    code = f"import runpy; runpy.run_path({str(HERE)!r})['rank'](__import__('pathlib').Path({str(tmp_path)!r}), {{}})"
    processes = [
        subprocess.Popen([sys.executable, "-c", code.format(number)], env=os.environ | {"OMP_NUM_THREADS": "1"})
        for number in (0, 1)
    ]
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"rank{number}.pth", weights_only=False) for number in (0, 1))
    assert first["losses"] == second["losses"]
    assert first["parts"] == second["parts"]
    assert len(first["batches"]) == len(second["batches"]) == 6
    for mine, other in zip(first["batches"], second["batches"], strict=True):
        assert mine["step"] == other["step"]
        assert (len(mine["unlabelled"]), len(other["unlabelled"])) == (2, 1)
        assert not torch.equal(mine["data"], other["data"])
        assert not torch.equal(mine["unlabelled"][:1], other["unlabelled"])
    for network in ("student", "teacher"):
        for name, tensor in first[network].items():
            assert torch.equal(tensor, second[network][name]), (network, name)
    assert any(not torch.equal(first["student"][name], tensor) for name, tensor in first["teacher"].items())
    file = Path(trainer.output_folder) / "checkpoint_final.pth"
    saved = torch.load(file, weights_only=False)["nnunet_ext"]["teacher"]
    assert saved["updates"] == 6
    assert all(torch.equal(saved["network"][name], tensor) for name, tensor in first["teacher"].items())
