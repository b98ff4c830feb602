"""Two processes with gloo: the same tasks in the same steps, own cases, and a final validation with one case.

With mixed batches each process takes its part of a step's tasks. The final validation outlasts the group's time-out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__)
NAME, PLANS = "Dataset900_Phantoms", "CollectionLitePlans"
TIME_OUT = 6  # seconds


def rank(root: Path, number: int, name: str) -> None:
    """What one process does; its findings go into a file."""
    import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as stock
    import numpy as np
    import torch
    from torch import distributed

    from nnunet_ext import sockets

    sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[2] / "helpers")]
    from conftest import point_nnunet_at

    with pytest.MonkeyPatch.context() as monkeypatch:
        point_nnunet_at(root, monkeypatch)
        monkeypatch.setenv("nnUNet_n_proc_DA", "0")
        wrap = stock.DDP
        monkeypatch.setattr(stock, "DDP", lambda network, device_ids: wrap(network))
        folder = root / "preprocessed" / NAME
        plans: dict[str, Any] = json.loads((folder / f"{PLANS}.json").read_text()) | {"continue_training": False}
        plans["nnunet_ext"] |= {"num_iterations_per_epoch": 5, "seed": None}
        description = json.loads((folder / "dataset.json").read_text())
        kind: Any = sockets.load("trainers", name)
        trainer = kind(plans, "3d_fullres", 0, description, torch.device("cpu"))
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
            seen["train"].append(np.atleast_1d(batch["task"]).tolist())
            seen["cases"].append([float(batch["data"].sum()), len(batch["data"])])
            outputs.append(trainer.train_step(batch))
        trainer.on_train_epoch_end(outputs)
        logged = trainer.task_logger
        seen["losses"] = [logged.my_fantastic_logging[f"loss of {task}"][0] for task in logged.tasks]
        seen["weights"] = [float(parameter.detach().double().sum()) for parameter in trainer.network.parameters()]
        seen["val"] = [next(trainer.dataloader_val)["task"] for _ in range(5)]
        distributed.barrier()
        distributed.destroy_process_group()
        short = timedelta(seconds=TIME_OUT)
        store = f"file://{root / 'another_store'}"
        distributed.init_process_group("gloo", init_method=store, rank=number, world_size=2, timeout=short)
        trainer.print_to_log_file = slowed(trainer.print_to_log_file, number)
        trainer.perform_actual_validation()
        (root / f"rank{number}.json").write_text(json.dumps(seen))
        distributed.destroy_process_group()


def slowed(tell: Callable[..., None], number: int) -> Callable[..., None]:
    """Let the second rank predict a case, and the first one evaluate a member, for longer than the time-out."""
    pauses = {"Validation complete": 1} if number == 0 else {"predicting": 1}

    def tell_slowly(*words: Any, **options: Any) -> None:
        tell(*words, **options)
        for beginning in [beginning for beginning in pauses if str(words[0]).startswith(beginning)]:
            pauses.pop(beginning)
            time.sleep(TIME_OUT + 2)

    return tell_slowly


def two_ranks(root: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    code = "import runpy; from pathlib import Path; "
    code += f"runpy.run_path({str(HERE)!r})['rank'](Path({str(root)!r}), {{}}, {name!r})"
    children = [subprocess.Popen([sys.executable, "-c", code.format(number)]) for number in (0, 1)]
    assert [child.wait(timeout=300) for child in children] == [0, 0]
    first, second = (json.loads((root / f"rank{number}.json").read_text()) for number in (0, 1))
    same = [mine == other for mine, other in zip(first["cases"], second["cases"], strict=True)]
    assert sum(same) <= 2  # of four cases, unseeded ranks may draw the same one, and leave it as it is: 1 step in 100
    assert [samples for _, samples in first["cases"] + second["cases"]] == [1] * 10
    assert first["weights"] == second["weights"]
    assert first["losses"] == second["losses"]
    assert first["val"] == second["val"]
    model = root / "results" / NAME / f"{name}__{PLANS}__3d_fullres"
    assert len(json.loads((model / "fold_0" / "validation" / "tasks.json").read_text())) == len(first["losses"])
    return first, second


@pytest.mark.slow
def test_a_task_for_each_step(collection: Path) -> None:
    first, second = two_ranks(collection, "UniSegTrainer")
    assert first["train"] == second["train"]
    assert first["val"] == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_a_task_for_each_sample(one_channel: Path) -> None:
    first, second = two_ranks(one_channel, "DoDNetTrainer")
    assert first["train"] != second["train"]
    drawn = [task for tasks in first["train"] + second["train"] for task in tasks]
    assert sorted(drawn.count(task) for task in range(3)) == [3, 3, 4]  # ten samples of one schedule
    assert first["val"] == [0, 1, 2, 0, 1]
