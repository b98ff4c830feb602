"""Two processes with gloo: each mixes its own samples, and both have the same weights afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__)
NAME, PLANS = "Dataset900_Mixed", "CollectionLitePlans"


def rank(root: Path, number: int) -> None:
    """What one process does; its findings go into a file."""
    import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as stock
    import torch
    from torch import distributed

    from nnunet_ext.methods.versemi.trainer import VerSemiTrainer

    sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[2] / "helpers")]
    from conftest import point_nnunet_at

    with pytest.MonkeyPatch.context() as monkeypatch:
        point_nnunet_at(root, monkeypatch)
        monkeypatch.setenv("nnUNet_n_proc_DA", "0")
        wrap = stock.DDP
        monkeypatch.setattr(stock, "DDP", lambda network, device_ids: wrap(network))
        folder = root / "preprocessed" / NAME
        plans: dict[str, Any] = json.loads((folder / f"{PLANS}.json").read_text()) | {"continue_training": False}
        plans["nnunet_ext"]["versemi"] = {"mix": "within"}  # in some steps nothing is mixed
        description = json.loads((folder / "dataset.json").read_text())
        run = VerSemiTrainer(plans, "3d_fullres", 0, description, torch.device("cpu"))
        distributed.init_process_group("gloo", init_method=f"file://{root / 'store'}", rank=number, world_size=2)
        run.is_ddp, run.local_rank = True, number
        run.initialize()
        run.dataloader_train, run.dataloader_val = run.get_dataloaders()
        outputs, seen = [], []
        for epoch in range(2):
            run.current_epoch = epoch
            run.on_train_epoch_start()
            for _ in range(4):
                batch = next(run.dataloader_train)
                seen.append([batch["task"].tolist(), len(batch.get("unlabelled", ()))])
                outputs.append(run.train_step(batch))
        run.current_epoch = 0
        run.on_train_epoch_end(outputs)
        networks = run.bare_network, run.teacher().network
        weights = [[float(each.detach().double().sum()) for each in network.parameters()] for network in networks]
        logged = {name: value[-1] for name, value in run.task_logger.my_fantastic_logging.items() if value}
        found = {"seen": seen, "weights": weights, "logged": {name: logged[name] for name in run.loss_parts}}
        (root / f"rank{number}.json").write_text(json.dumps(found))
        distributed.barrier()
        distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_have_one_network_and_one_teacher(unlabelled_members: Path) -> None:
    for file in (unlabelled_members / "preprocessed").glob(f"*/{PLANS}*.json"):
        plans = json.loads(file.read_text())
        if "configurations" in plans:
            plans["configurations"]["3d_fullres"]["batch_size"] = 4
            file.write_text(json.dumps(plans))
    code = "import runpy; from pathlib import Path; "
    code += f"runpy.run_path({str(HERE)!r})['rank'](Path({str(unlabelled_members)!r}), {{}})"
    children = [subprocess.Popen([sys.executable, "-c", code.format(number)]) for number in (0, 1)]
    assert [child.wait(timeout=300) for child in children] == [0, 0]
    first, second = (json.loads((unlabelled_members / f"rank{number}.json").read_text()) for number in (0, 1))
    assert first["weights"] == second["weights"]
    assert first["logged"] == second["logged"]
    assert [len(tasks) for tasks, _ in first["seen"] + second["seen"]] == [2] * 16
    assert any(len(set(tasks)) == 2 for tasks, _ in first["seen"])  # no pair within a member
    assert all(frames == 0 for _, frames in first["seen"][:4])
    assert any(frames for _, frames in first["seen"][4:])
