"""Final validation of a collection on several ranks: all predict, then one evaluates, and nobody waits for it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from process_group import process_group

from nnunet_ext.collection.training import final_validation as module
from nnunet_ext.collection.training.final_validation import final_validation
from nnunet_ext.processes.ranks import Ranks

CASES = {"liver": ["a", "b", "c"], "none": [], "lung": ["d", "e"]}


class Trainer:
    """What the module needs of a trainer; it notes what stock's validation would see."""

    is_ddp, network, fold, configuration_name = True, SimpleNamespace(module="bare"), 0, "3d_fullres"
    plans_manager, table = SimpleNamespace(plans_name="Plans"), SimpleNamespace(collection="Dataset900_All")

    def __init__(self, folder: Path) -> None:
        self.output_folder = str(folder)
        self.happened: list[Any] = []
        self.members = [
            SimpleNamespace(task=SimpleNamespace(name=name, dataset=f"Dataset{number:03d}"), classes={})
            for number, name in enumerate(CASES, start=1)
        ]
        self.on = -1

    def do_split(self) -> tuple[list[str], list[str]]:
        self.happened.append("split")
        return [], list(CASES.values())[self.on]

    def print_to_log_file(self, *words: Any, **options: Any) -> None:
        pass

    @contextlib.contextmanager
    def on_task(self, number: int, **attributes: Any) -> Any:
        before, self.on = dict(self.__dict__), number
        self.__dict__.update(attributes)
        yield
        for name in attributes:
            del self.__dict__[name]
        self.__dict__.update(before)

    def validate(self) -> None:
        assert self.is_ddp is False  # it meets no other rank
        assert self.network == "bare"
        task = self.members[self.on].task
        assert Path(self.output_folder).parts[-3:-1] == (task.dataset, "Trainer__Plans_Dataset900_All__3d_fullres")
        predicted = self.do_split()[1]
        self.happened += [f"{task.name} predicts {''.join(predicted)}"] if predicted else []
        self.happened += [f"{task.name} evaluates"] if self.__dict__["local_rank"] == 0 else []


def happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int | None) -> list[Any]:
    trainer = Trainer(tmp_path)
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    monkeypatch.setattr(Ranks, "patient_wait", lambda self: lambda: trainer.happened.append("wait"))
    tables = []
    monkeypatch.setattr(module, "write_task_report", lambda folder, folders, classes: tables.append(list(folders)))
    with contextlib.nullcontext() if rank is None else process_group(rank, 2):
        final_validation(trainer, trainer.validate)  # type: ignore[arg-type]
    assert tables == ([] if rank == 1 else [["liver", "lung"]])
    assert trainer.is_ddp
    return trainer.happened


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        (None, ["liver predicts abc", "liver evaluates", "lung predicts de", "lung evaluates", "wait"]),
        (0, ["liver predicts ac", "lung predicts d", "wait", "liver evaluates", "lung evaluates"]),
        (1, ["liver predicts b", "lung predicts e", "wait"]),
    ],
)
def test_all_predict_before_one_evaluates(tmp_path, monkeypatch, rank, expected):
    assert happened(tmp_path, monkeypatch, rank) == ["split"] * 3 + expected
