"""SafeCheckpoints on a small stand-in for nnU-Net's trainer: real files, real damage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from process_group import process_group

from nnunet_ext.base.checkpoints import SafeCheckpoints, read_checkpoint, read_trained, whole_checkpoints
from nnunet_ext.errors import UserError
from nnunet_ext.processes.run_lock import NAME

pytestmark = pytest.mark.smoke


class StockTrainer:
    """What nnUNetTrainer does with checkpoint files, and nothing else."""

    local_rank = 0
    disable_checkpointing = False

    def __init__(self, folder: Path, *, continue_training: bool = False) -> None:
        self.output_folder = str(folder)
        self.continue_training = continue_training
        self.epoch = 0
        self.time = 0.0
        self.log: list[str] = []

    def print_to_log_file(self, line: str) -> None:
        self.log.append(line)

    def save_checkpoint(self, filename: str) -> None:
        if not self.disable_checkpointing:
            torch.save(
                {
                    "network_weights": {"w": torch.full((5000,), float(self.epoch))},
                    "current_epoch": self.epoch,
                    "logging": {"epoch_end_timestamps": [0.5, self.time or float(self.epoch)]},
                    "trainer_name": type(self).__name__,
                },
                filename,
            )

    def load_checkpoint(self, filename: str) -> None:
        self.epoch = torch.load(filename, weights_only=False)["current_epoch"]


class Trainer(SafeCheckpoints, StockTrainer):
    pass


class OtherTrainer(SafeCheckpoints, StockTrainer):
    pass


class WithMore(Trainer):
    """Keeps a tensor beside the network."""

    def __init__(self, folder: Path, more: dict, **options: bool) -> None:
        super().__init__(folder, **options)
        self.more = more

    def extra_state(self) -> dict:
        return self.more

    def load_extra_state(self, state: dict) -> None:
        self.more = state


def saved(folder: Path, **epochs: int) -> None:
    trainer = Trainer(folder)
    for name, trainer.epoch in epochs.items():
        trainer.save_checkpoint(str(folder / f"checkpoint_{name}.pth"))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_saving_leaves_one_whole_file(tmp_path):
    saved(tmp_path, latest=7)
    assert {file.name for file in tmp_path.iterdir()} - {NAME} == {"checkpoint_latest.pth"}
    assert read_checkpoint(tmp_path / "checkpoint_latest.pth")["current_epoch"] == 7


def test_a_write_that_dies_half_way_leaves_the_older_file(tmp_path, monkeypatch):
    saved(tmp_path, latest=7)
    trainer = Trainer(tmp_path)
    trainer.epoch = 8

    def dies(checkpoint, filename):
        Path(filename).write_bytes(b"half of a checkp")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(UserError, match=r"No space left on device.*Older checkpoints are intact.*--c"):
        trainer.save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    assert {file.name for file in tmp_path.iterdir()} - {NAME} == {"checkpoint_latest.pth"}
    assert read_checkpoint(tmp_path / "checkpoint_latest.pth")["current_epoch"] == 7


def test_more_than_nnunet_keeps_travels_in_the_same_file(tmp_path):
    trainer = WithMore(tmp_path, {"teacher": torch.tensor([2.0, 3.0])})
    trainer.epoch = 7
    file = tmp_path / "checkpoint_latest.pth"
    trainer.save_checkpoint(str(file))
    assert list(tmp_path.iterdir()) == [file]
    checkpoint = torch.load(file, weights_only=False)
    assert checkpoint["current_epoch"] == 7
    assert checkpoint["network_weights"]["w"][0] == 7
    continued = WithMore(tmp_path, {}, continue_training=True)
    continued.load_checkpoint(str(file))
    assert continued.epoch == 7
    assert continued.more["teacher"].tolist() == [2, 3]


@pytest.mark.parametrize("more", [{}, {"teacher": torch.tensor([2.0])}])
def test_a_checkpoint_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch, more):
    """Else a power failure could leave the new name without the data."""
    happened = []
    fsync, replace = os.fsync, Path.replace

    def notes_fsync(descriptor: int) -> None:
        happened.append(("fsync", os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        fsync(descriptor)

    def notes_replace(self: Path, target: Path) -> Path:
        happened.append(("replace", self.stat().st_ino, self.stat().st_size))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", notes_fsync)
    monkeypatch.setattr(Path, "replace", notes_replace)
    file = tmp_path / "checkpoint_latest.pth"
    WithMore(tmp_path, more).save_checkpoint(str(file))
    written = (file.stat().st_ino, file.stat().st_size)
    assert happened == [("fsync", *written), ("replace", *written)]


def test_with_more_the_disk_is_written_once_and_never_read(tmp_path, monkeypatch):
    written, read, save, load = [], [], torch.save, torch.load

    def notes_save(checkpoint: object, target: object) -> None:
        written.append(target)
        save(checkpoint, target)

    def notes_load(source: object, **options: object) -> object:
        read.append(source)
        return load(source, **options)

    monkeypatch.setattr(torch, "save", notes_save)
    monkeypatch.setattr(torch, "load", notes_load)
    WithMore(tmp_path, {"teacher": torch.tensor([2.0])}).save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    assert [str(target) for target in written if isinstance(target, str | Path)] == [
        f"{tmp_path / 'checkpoint_latest.pth'}.partial"
    ]
    assert not [source for source in read if isinstance(source, str | Path)]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_an_error_of_the_gpu_is_not_told_as_a_full_disk(tmp_path, monkeypatch, error):
    saved(tmp_path, latest=7)

    def dies(checkpoint, filename):
        Path(filename).write_bytes(b"half of a checkp")
        raise error

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(RuntimeError) as caught:
        Trainer(tmp_path).save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    assert caught.value is error
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint_latest.pth"]


def test_a_checkpoint_that_holds_nothing_more(tmp_path):
    WithMore(tmp_path, {}).save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    assert "nnunet_ext" not in torch.load(tmp_path / "checkpoint_latest.pth", weights_only=False)
    trainer = WithMore(tmp_path, {"teacher": 1})
    trainer.load_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    assert trainer.more == {}


def test_a_write_of_more_that_dies_half_way_leaves_the_older_file(tmp_path, monkeypatch):
    trainer = WithMore(tmp_path, {"teacher": 1})
    trainer.epoch = 7
    trainer.save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    save = torch.save

    def dies(checkpoint, filename):
        if "nnunet_ext" in checkpoint:
            Path(filename).write_bytes(b"half of a checkp")
            raise OSError(28, "No space left on device")
        save(checkpoint, filename)

    monkeypatch.setattr(torch, "save", dies)
    trainer.epoch = 8
    with pytest.raises(UserError, match="No space left on device"):
        trainer.save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    assert {file.name for file in tmp_path.iterdir()} - {NAME} == {"checkpoint_latest.pth"}
    assert read_checkpoint(tmp_path / "checkpoint_latest.pth")["current_epoch"] == 7


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full to stand for a full disk")
def test_a_full_disk(tmp_path):
    saved(tmp_path, latest=7)
    os.symlink("/dev/full", tmp_path / "checkpoint_latest.pth.partial")
    with pytest.raises(UserError, match="expected to write a checkpoint"):
        saved(tmp_path, latest=8)
    assert read_checkpoint(tmp_path / "checkpoint_latest.pth")["current_epoch"] == 7


@pytest.mark.parametrize(("rank", "writes"), [(0, True), (2, False)])
def test_of_two_nodes_with_a_local_rank_0_each_one_writes(tmp_path, rank, writes):
    left = tmp_path / "checkpoint_best.pth.partial"
    with process_group(rank, 4):
        saved(tmp_path, latest=7)
        assert (tmp_path / "checkpoint_latest.pth").is_file() == writes
        left.write_bytes(b"half")
        saved(tmp_path, latest=7)
        torch.save(
            {"network_weights": {}, "logging": {"epoch_end_timestamps": [1.0]}}, tmp_path / "checkpoint_best.pth"
        )
        Trainer(tmp_path, continue_training=True)._newest_whole_checkpoint()
    assert left.exists() != writes  # the first rank may be writing it


def test_disabled_checkpointing_writes_nothing(tmp_path):
    trainer = Trainer(tmp_path)
    trainer.disable_checkpointing = True
    trainer.save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("epochs", "broken", "expected"),
    [
        ({"latest": 4, "best": 2}, [], 4),
        ({"latest": 4, "best": 5}, [], 5),  # killed in the last epoch: best is newer
        ({"latest": 4, "best": 2}, ["latest"], 2),
        ({"final": 6, "latest": 4}, ["final"], 4),
        ({"final": 6, "best": 6}, [], 6),
    ],
)
def test_continues_from_the_newest_whole_checkpoint(tmp_path, epochs, broken, expected):
    saved(tmp_path, **epochs)
    for name in broken:
        truncate(tmp_path / f"checkpoint_{name}.pth")
    trainer = Trainer(tmp_path, continue_training=True)
    trainer.load_checkpoint(str(tmp_path / f"checkpoint_{next(iter(epochs))}.pth"))
    assert trainer.epoch == expected
    assert len(trainer.log) == len(broken)
    for name in broken:
        assert f"checkpoint_{name}.pth: expected an intact checkpoint" in trainer.log[0]


def test_an_older_run_in_the_same_folder_is_not_newer_for_its_higher_epoch(tmp_path):
    saved(tmp_path, final=30)
    trainer = Trainer(tmp_path)
    trainer.epoch, trainer.time = 12, 31.0
    trainer.save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    trainer = Trainer(tmp_path, continue_training=True)
    trainer.load_checkpoint(str(tmp_path / "checkpoint_final.pth"))
    assert trainer.epoch == 12


def test_of_equally_new_ones_best_is_taken_for_it_knows_its_score(tmp_path, monkeypatch):
    saved(tmp_path, latest=5, best=5)
    trainer = Trainer(tmp_path, continue_training=True)
    assert trainer._newest_whole_checkpoint().name == "checkpoint_best.pth"


def test_what_a_kill_while_writing_left_is_removed(tmp_path):
    saved(tmp_path, latest=5)
    (tmp_path / "checkpoint_best.pth.partial").write_bytes(b"half")
    Trainer(tmp_path, continue_training=True).load_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    assert {file.name for file in tmp_path.iterdir()} - {NAME} == {"checkpoint_latest.pth"}


def test_nothing_whole_is_an_error_and_not_a_fresh_start(tmp_path):
    saved(tmp_path, latest=4)
    truncate(tmp_path / "checkpoint_latest.pth")
    trainer = Trainer(tmp_path, continue_training=True)
    with pytest.raises(UserError, match="expected an intact checkpoint to continue from, found only broken ones"):
        trainer.load_checkpoint(str(tmp_path / "checkpoint_latest.pth"))


def test_validation_takes_the_file_it_was_given(tmp_path):
    saved(tmp_path, final=6, best=3, latest=9)
    trainer = Trainer(tmp_path)
    trainer.load_checkpoint(str(tmp_path / "checkpoint_best.pth"))
    assert trainer.epoch == 3
    truncate(tmp_path / "checkpoint_final.pth")
    with pytest.raises(UserError, match=r"checkpoint_final\.pth: expected an intact checkpoint"):
        trainer.load_checkpoint(str(tmp_path / "checkpoint_final.pth"))


@pytest.mark.parametrize("name", [None, "filename_or_checkpoint", "checkpoint"])
def test_what_is_in_a_file_loads_as_the_file_does(tmp_path, name):
    WithMore(tmp_path, {"teacher": torch.tensor([2.0, 3.0])}).save_checkpoint(str(tmp_path / "checkpoint_best.pth"))
    file = tmp_path / "checkpoint_best.pth"
    for given in (str(file), file, torch.load(file, weights_only=False) | {"current_epoch": 5}):
        trainer = WithMore(tmp_path, {})
        trainer.epoch = 9
        trainer.load_checkpoint(given) if name is None else trainer.load_checkpoint(**{name: given})
        assert trainer.epoch == (5 if isinstance(given, dict) else 0)
        assert trainer.more["teacher"].tolist() == [2, 3]
    assert {path.name for path in tmp_path.iterdir()} - {NAME} == {"checkpoint_best.pth"}
    with pytest.raises(UserError, match="the checkpoint given: expected a checkpoint of WithMore, found one of Other"):
        trainer.load_checkpoint(torch.load(file, weights_only=False) | {"trainer_name": "Other"})
    with pytest.raises(TypeError, match=r"WithMore\.load_checkpoint: expected a checkpoint, got none"):
        trainer.load_checkpoint()


def test_another_trainers_checkpoint_is_refused(tmp_path):
    saved(tmp_path, latest=4)
    with pytest.raises(UserError, match=r"expected a checkpoint of OtherTrainer, found one of Trainer.*init_from"):
        OtherTrainer(tmp_path, continue_training=True).load_checkpoint(str(tmp_path / "checkpoint_latest.pth"))


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="expected an nnU-Net checkpoint with 'network_weights', found none"):
        read_checkpoint(tmp_path / "list.pth")


def test_only_a_training_reads_everything_that_its_own_checkpoints_hold(tmp_path):
    """A method of another package may keep any object there."""
    WithMore(tmp_path, {"place": Path("a")}).save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    with pytest.raises(UserError, match="but it asks for pathlib"):
        read_checkpoint(tmp_path / "checkpoint_latest.pth")
    assert read_checkpoint(tmp_path / "checkpoint_latest.pth", trust=True)["nnunet_ext"] == {"place": Path("a")}
    trainer = WithMore(tmp_path, {}, continue_training=True)
    trainer.load_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    assert trainer.more == {"place": Path("a")}
    assert [file.name for file, _ in whole_checkpoints(tmp_path)] == ["checkpoint_latest.pth"]


def test_plans_in_a_checkpoint_that_would_run_code(tmp_path):
    plans = {"configurations": {"2d": {"architecture": {"network_class_name": "os.system"}}}}
    content = {"network_weights": {}, "trainer_name": "A", "init_args": {"plans": plans, "configuration": "2d"}}
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(
        UserError, match=r"a\.pth: expected classes of networks, but configuration '2d' names 'os\.system'"
    ):
        read_trained(tmp_path / "a.pth")
    assert read_trained(tmp_path / "a.pth", trust=True) == content


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"init_args": 3}, "the trainer's arguments by name for 'init_args'"),
        ({"init_args": {}}, "text for 'configuration'"),
        ({"init_args": {"configuration": 2}}, "text for 'configuration'"),
        ({"init_args": {"configuration": "2d", "plans": "text"}}, "plans for 'plans'"),
        ({"trainer_name": 7}, "text for 'trainer_name'"),
        ({"network_weights": [1]}, "tensors by name for 'network_weights'"),
        ({"network_weights": {"a": 1}}, "tensors by name for 'network_weights'"),
        ({"inference_allowed_mirroring_axes": 3}, "axes or None for 'inference_allowed_mirroring_axes'"),
        ({"inference_allowed_mirroring_axes": ["x"]}, "axes or None for 'inference_allowed_mirroring_axes'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("trust", [False, True])
def test_a_trained_checkpoint_of_other_types(tmp_path, change, part, trust):
    """One line instead of an error of Python's where they are used."""
    content = {"network_weights": {"a": torch.zeros(1)}, "trainer_name": "A", "init_args": {"configuration": "2d"}}
    for axes in (None, (0, 1), []):
        torch.save(content | {"inference_allowed_mirroring_axes": axes}, tmp_path / "a.pth")
        assert read_trained(tmp_path / "a.pth", trust=trust)["trainer_name"] == "A"
    torch.save(content | change, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a\.pth: expected .* of the checkpoint, found another value") as caught:
        read_trained(tmp_path / "a.pth", trust=trust)
    assert f"expected {part} of" in str(caught.value)
