"""Files are written whole or not at all; what killed processes left goes."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.files import json_file
from nnunet_ext.files.json_file import is_partial, read_json, whole_file, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_written_and_read(tmp_path):
    write_json(tmp_path / "a.json", {"labels": ["Größe", 1]})
    assert read_json(tmp_path / "a.json") == {"labels": ["Größe", 1]}
    write_text(tmp_path / "results.md", "0.9 ± 0.1")
    assert (tmp_path / "results.md").read_bytes() == "0.9 ± 0.1".encode()
    assert names(tmp_path) == ["a.json", "results.md"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_was_there_stays_if_writing_fails(tmp_path, monkeypatch, error):
    file = tmp_path / "plans.json"
    write_json(file, {"old": 1})

    def fails(*_):
        raise error

    monkeypatch.setattr(os, "fsync", fails)
    expected = UserError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        write_json(file, {"new": 2})
    if expected is UserError:
        assert str(caught.value).startswith(f"{file}: expected to write, got 'No space left on device'. Free space")
    assert read_json(file) == {"old": 1}
    assert names(tmp_path) == ["plans.json"]


def test_what_killed_processes_left_is_removed_and_what_lives_is_not(tmp_path, dead):
    own = [f"a.json.{dead}.partial", f"a.json.{os.getppid()}.partial"]
    others = [f"b.json.{dead}.partial", "a.json.notes.partial", "a.json.partial.txt"]
    for name in (*own, *others):
        (tmp_path / name).write_text("{")
    write_json(tmp_path / "a.json", 1)
    assert names(tmp_path) == sorted(["a.json", own[1], *others])
    assert [is_partial(name) for name in (*own, *others)] == [True, True, True, True, False]


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_replaces_none(tmp_path, monkeypatch, links):
    if not links:

        def refuse(*_):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    write_json(tmp_path / "a.json", 1, new=True)
    with pytest.raises(FileExistsError):
        write_json(tmp_path / "a.json", 2, new=True)
    assert read_json(tmp_path / "a.json") == 1
    assert names(tmp_path) == ["a.json"]


def test_of_many_at_once_one_writes_a_new_file(tmp_path):
    """Threads in place of processes, each with a partial file of its own."""
    won, start = [], threading.Barrier(8)

    def write(number: int) -> None:
        partial = tmp_path / f"{number}.partial"
        partial.write_text(str(number))
        start.wait()
        try:
            json_file._rename_to_new(partial, tmp_path / "a.json")
            won.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert (tmp_path / "a.json").read_text() == str(won[0])


def test_a_file_is_not_there_before_it_is_whole(tmp_path):
    with whole_file(tmp_path / "figure.png") as partial:
        partial.write_bytes(b"half")
        assert not (tmp_path / "figure.png").exists()
        partial.write_bytes(b"whole")
    assert (tmp_path / "figure.png").read_bytes() == b"whole"


def test_a_half_made_link_of_a_process_with_our_number(tmp_path):
    """In containers, numbers of processes recur. Nothing is written through the link."""
    users, target = tmp_path / "users", tmp_path / "target"
    users.write_text("data")
    (tmp_path / f"target.{os.getpid()}.partial").symlink_to(users)
    write_text(target, "new")
    assert (users.read_text(), target.read_text(), target.is_symlink()) == ("data", "new", False)
