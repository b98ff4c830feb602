"""Two processes with gloo: own patches and masks, one network, one record of the validation."""

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

from nnunet_ext.methods.masked_autoencoder.trainer import MaskedAutoencoderTrainer

HERE = Path(__file__)


def rank(out: Path, number: int) -> None:
    """What one process does; its findings go into a file."""
    import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as stock
    from torch import distributed

    wrap = stock.DDP
    stock.DDP = lambda network, device_ids: wrap(network)
    given = json.loads((out / "given.json").read_text())
    trainer = MaskedAutoencoderTrainer(*given, torch.device("cpu"))
    distributed.init_process_group("gloo", init_method=f"file://{out / 'store'}", rank=number, world_size=2)
    trainer.is_ddp, trainer.local_rank = True, number
    patch, patches = trainer.hidden_patch, []

    def notes(batch: dict[str, Any]) -> Any:
        patches.append(patch(batch))
        return patches[-1]

    trainer.hidden_patch = notes
    trainer.run_training()
    trainer.perform_actual_validation()
    seen = {
        "images": [each.images for each in patches],
        "hidden": [each.hidden for each in patches],
        "log": {name: trainer.logger.get_value(name, step=None) for name in ("train_losses", "val_losses", "blurring")},
        "network": trainer.bare_network.state_dict(),
    }
    torch.save(seen, out / f"rank{number}.pth")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks(half_labelled: Callable[..., Any], tmp_path: Path) -> None:
    trainer = half_labelled(MaskedAutoencoderTrainer)
    plans = trainer.plans_manager.plans | {"continue_training": False}
    (tmp_path / "given.json").write_text(json.dumps([plans, "3d_fullres", 0, trainer.dataset_json]))
    code = f"import runpy; runpy.run_path({str(HERE)!r})['rank'](__import__('pathlib').Path({str(tmp_path)!r}), {{}})"
    processes = [
        subprocess.Popen([sys.executable, "-c", code.format(number)], env=os.environ | {"OMP_NUM_THREADS": "1"})
        for number in (0, 1)
    ]
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"rank{number}.pth", weights_only=False) for number in (0, 1))
    assert first["log"] == second["log"]
    assert len(first["images"]) == len(second["images"]) == 9  # two epochs of three steps and one, and the last
    assert not any(map(torch.equal, first["hidden"], second["hidden"]))
    assert not torch.equal(first["images"][0], second["images"][0])
    for name, tensor in first["network"].items():
        assert torch.equal(tensor, second["network"][name]), name
    summary = json.loads((Path(trainer.output_folder) / "validation" / "summary.json").read_text())
    assert summary["masked_error"] == pytest.approx(first["log"]["val_losses"][-1])
