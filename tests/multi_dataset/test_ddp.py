"""Two processes with gloo: the same tasks in the same steps, own cases, and a final validation with one case."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__)
NAME, PLANS = "Dataset900_Phantoms", "CollectionLitePlans"


def rank(root: Path, number: int) -> None:
    """What one process does; its findings go into a file."""
    import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as stock
    import torch
    from torch import distributed

    from nnunet_ext.uniseg import UniSegTrainer

    sys.path.insert(0, str(HERE.parents[1]))
    from conftest import point_nnunet_at

    with pytest.MonkeyPatch.context() as monkeypatch:
        point_nnunet_at(root, monkeypatch)
        monkeypatch.setenv("nnUNet_n_proc_DA", "0")
        wrap = stock.DDP
        monkeypatch.setattr(stock, "DDP", lambda network, device_ids: wrap(network))
        folder = root / "preprocessed" / NAME
        plans: dict[str, Any] = json.loads((folder / f"{PLANS}.json").read_text()) | {"continue_training": False}
        plans["nnunet_ext"] = {"num_epochs": 1, "num_iterations_per_epoch": 5, "num_val_iterations_per_epoch": 5}
        description = json.loads((folder / "dataset.json").read_text())
        trainer = UniSegTrainer(plans, "3d_fullres", 0, description, torch.device("cpu"))
        store = f"file://{root / 'store'}"
        distributed.init_process_group("gloo", init_method=store, rank=number, world_size=2)
        trainer.is_ddp, trainer.local_rank = True, number
        trainer.initialize()
        trainer.dataloader_train, trainer.dataloader_val = trainer.get_dataloaders()
        trainer.on_train_epoch_start()
        seen: dict[str, list[Any]] = {"train": [], "cases": [], "val": []}
        outputs = []
        for _ in range(5):
            batch = next(trainer.dataloader_train)
            seen["train"].append(batch["task"])
            seen["cases"].append([float(batch["data"].sum()), len(batch["data"])])
            outputs.append(trainer.train_step(batch))
        trainer.on_train_epoch_end(outputs)
        seen["losses"] = [
            trainer.task_logger.my_fantastic_logging[f"loss of {task}"][0] for task in trainer.task_logger.tasks
        ]
        seen["weights"] = [float(parameter.detach().double().sum()) for parameter in trainer.network.parameters()]
        seen["val"] = [next(trainer.dataloader_val)["task"] for _ in range(5)]
        trainer.perform_actual_validation()
        (root / f"rank{number}.json").write_text(json.dumps(seen))
        distributed.barrier()
        distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks(collection: Path) -> None:
    code = f"import runpy; runpy.run_path({str(HERE)!r})['rank'](__import__('pathlib').Path({str(collection)!r}), {{}})"
    children = [subprocess.Popen([sys.executable, "-c", code.format(number)]) for number in (0, 1)]
    assert [child.wait(timeout=300) for child in children] == [0, 0]
    first, second = (json.loads((collection / f"rank{number}.json").read_text()) for number in (0, 1))
    assert first["train"] == second["train"]
    assert first["val"] == second["val"] == [0, 1, 2, 3, 4]
    for (mine, samples), (other, others) in zip(first["cases"], second["cases"], strict=True):
        assert mine != other
        assert samples == others == 1
    assert first["weights"] == second["weights"]
    assert first["losses"] == second["losses"]
    model = collection / "results" / NAME / f"UniSegTrainer__{PLANS}__3d_fullres"
    assert len(json.loads((model / "fold_0" / "validation" / "tasks.json").read_text())) == 5
