"""Dataset numbers are taken by one command at a time, and what a killed command left blocks nobody."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from lock_holder import lock_holder

from nnunet_ext.cli.main import main
from nnunet_ext.processes.run_lock import NAME
from nnunet_ext.stock import folders

COLLECT = "collect -d 910 -n C 901:labels=organ --no_pbar"
HIDE = "hide_labels -d 901 -o 911 --keep 1"
PHANTOMS = "phantoms -d 920"
MADE = {COLLECT: "Dataset910_C", HIDE: "Dataset911_Phantom", PHANTOMS: "Dataset920_Organs"}


@pytest.mark.parametrize("words", MADE)
def test_another_command_that_takes_numbers_is_waited_for(nnunet, monkeypatch, mistake, words):
    raw = nnunet / "raw"
    before = sorted(raw.rglob("*"))
    monkeypatch.setattr(folders, "NUMBERS_WAIT", 0.0)
    with lock_holder(raw) as process:
        assert f"expected nobody at work there, found training, process {process.pid}" in mistake(words)
    monkeypatch.setattr(folders, "NUMBERS_WAIT", 60.0)
    with lock_holder(raw) as process:
        threading.Timer(0.3, process.kill).start()
        assert main(words.split()) == 0
    new = {path.name for path in raw.iterdir()} - {path.name for path in before}
    assert MADE[words] in new
    assert NAME not in new


def test_a_number_that_was_taken_while_waiting_is_not_taken_again(nnunet):
    raw = nnunet / "raw"

    def take(process) -> None:
        time.sleep(0.3)
        (raw / "Dataset911_Other").mkdir()
        process.kill()

    with lock_holder(raw) as process:
        threading.Thread(target=take, args=(process,)).start()
        assert main(COLLECT.split()) == 0
    assert sorted(path.name for path in raw.glob("Dataset91*")) == [
        "Dataset910_C",
        "Dataset911_Other",
        "Dataset912_Phantom_organ",
    ]


def test_hide_labels_looks_at_its_number_again_after_waiting(nnunet, mistake):
    raw = nnunet / "raw"

    def take(process) -> None:
        time.sleep(0.3)
        (raw / "Dataset911_Other").mkdir()
        process.kill()

    with lock_holder(raw) as process:
        threading.Thread(target=take, args=(process,)).start()
        assert "Dataset911_Other has it too" in mistake(HIDE)
    assert not (raw / "Dataset911_Phantom").exists()


@pytest.mark.parametrize("left", ["dataset.json.partial", "dataset.json.4194303.partial"])
@pytest.mark.parametrize("words", [COLLECT, HIDE])
def test_what_a_killed_command_left_does_not_block_the_same_command(nnunet, words, left):
    place = nnunet / "raw" / MADE[words]
    place.mkdir()
    (place / left).write_text("{")
    assert main(words.split()) == 0
    assert (place / "dataset.json").is_file()
    if words == HIDE:
        assert [file.name for file in place.iterdir()] == ["dataset.json"]


def test_a_full_disk_says_so_and_the_same_command_works_later(nnunet, monkeypatch, mistake):
    import os

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for words in (HIDE, COLLECT):
        with monkeypatch.context() as small:
            small.setattr(os, "fsync", full)
            assert "dataset.json: expected to write, got 'No space left on device'. Free space" in mistake(words)
        assert not list(Path(nnunet / "raw").rglob("*.partial"))
        assert main(words.split()) == 0
