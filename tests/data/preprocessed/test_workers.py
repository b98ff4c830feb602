"""Worker processes have one thread each, and one that is killed is reported in a line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from worker_writes import WriteThreads, die

from nnunet_ext.data.image_case import Case
from nnunet_ext.data.preprocessed import workers
from nnunet_ext.data.preprocessed.workers import stock_workers, write_all
from nnunet_ext.errors import UserError

CASES = [Case("a", ()), Case("b", ()), Case("c", ())]


def test_one_thread_each(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    write_all(WriteThreads(tmp_path), CASES, 2, "title", tmp_path, progress=False)
    found = [file.read_text().split() for file in tmp_path.iterdir()]
    assert len(found) == 3
    assert str(os.getpid()) not in {process for process, *_ in found}
    assert {count for _, *threads in found for count in threads} == {"1"}
    assert all(len(threads) >= 2 for _, *threads in found)


def test_torch_is_told_in_case_its_threads_are_not_openmps(monkeypatch):
    told: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", told.append)
    monkeypatch.setattr("threadpoolctl.threadpool_limits", lambda _: None)
    workers._take_one_thread()
    assert told == [1]


def test_one_process_is_this_one(tmp_path):
    write_all(WriteThreads(tmp_path), CASES, 1, "title", tmp_path, progress=False)
    assert {file.read_text().split()[0] for file in tmp_path.iterdir()} == {str(os.getpid())}


def test_a_killed_worker_is_one_line():
    with pytest.raises(UserError) as caught:
        write_all(die, CASES, 2, "title", Path("place"), progress=False)
    assert str(caught.value) == (
        "place: expected to preprocess with 2 processes, one was killed: there is probably too little memory. Run it "
        "again with -np 1: without --clean, what is done is kept."
    )


def test_what_nnunet_says_of_a_killed_worker():
    one_was_killed = r"expected to preprocess with 4 processes, one was killed.*-npfp 1"
    with pytest.raises(UserError, match=one_was_killed), stock_workers(Path("place"), 4, "-npfp"):
        raise RuntimeError("Some background worker is 6 feet under. Yuck.")
    with pytest.raises(RuntimeError, match="another mistake"), stock_workers(Path("place"), 4, "-npfp"):
        raise RuntimeError("another mistake")
