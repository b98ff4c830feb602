"""A fold's folder belongs to one training at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
from lock_holder import lock_holder

from nnunet_ext.errors import UserError
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.processes.run_lock import NAME


@pytest.mark.parametrize("entry", ["run_training", "perform_actual_validation", "load_checkpoint"])
def test_a_second_training_is_refused_and_changes_nothing(half_labelled, entry):
    trainer = half_labelled(NNUNetBaselineTrainer, continued=True)
    fold = Path(trainer.output_folder)
    partial = fold / "checkpoint_latest.pth.partial"  # what the other one is writing
    partial.touch()
    words = [str(fold / "checkpoint_latest.pth")] if entry == "load_checkpoint" else []
    with lock_holder(fold) as process:
        with pytest.raises(UserError, match=f"expected nobody at work there, found training, process {process.pid}"):
            getattr(trainer, entry)(*words)
        names = {file.name for file in fold.iterdir()}
        assert {name for name in names if not name.startswith("training_log")} == {NAME, partial.name}


def test_an_error_gives_the_folder_back_and_so_does_the_end(half_labelled, monkeypatch):
    trainer = half_labelled(NNUNetBaselineTrainer)
    lock = Path(trainer.output_folder) / NAME
    seen = []

    def fails(self):
        seen.append(lock.exists())
        raise RuntimeError("CUDA out of memory")

    with monkeypatch.context() as broken:
        broken.setattr(NNUNetBaselineTrainer, "on_train_epoch_start", fails)
        with pytest.raises(RuntimeError, match="CUDA out of memory"):
            trainer.run_training()
    assert seen == [True]
    assert not lock.exists()
    trainer = half_labelled(NNUNetBaselineTrainer)
    trainer.run_training()
    assert lock.exists()  # until it has validated
    trainer.perform_actual_validation()
    assert not lock.exists()


def test_what_died_there_is_named_in_the_log(half_labelled):
    trainer = half_labelled(NNUNetBaselineTrainer)
    with lock_holder(Path(trainer.output_folder)) as process:
        process.kill()
        process.wait()
        trainer.lock_fold()
    assert f"taken over from training, process {process.pid} on" in Path(trainer.log_file).read_text()


def test_of_several_ranks_only_the_first_takes_it(half_labelled, monkeypatch):
    trainer = half_labelled(NNUNetBaselineTrainer)
    monkeypatch.setattr(Ranks, "now", classmethod(lambda cls: cls(1, 2)))
    trainer.lock_fold()
    assert not (Path(trainer.output_folder) / NAME).exists()
    monkeypatch.setattr(Ranks, "now", classmethod(lambda cls: cls(0, 2)))
    with trainer.fold_locked():
        assert (Path(trainer.output_folder) / NAME).exists()
