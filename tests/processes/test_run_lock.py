"""One process at a time in a folder: refused while the other lives, taken over when it died, however it died."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from lock_holder import HOLD, lock_holder

from nnunet_ext.errors import UserError
from nnunet_ext.processes import run_lock as module
from nnunet_ext.processes.run_lock import NAME, Holder, release_lock, run_lock, take_lock


def files(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def leave(folder: Path, **changes: object) -> None:
    """Write what a process that died has left."""
    holder = Holder.this("training").__dict__ | changes
    (folder / NAME).write_text(json.dumps(holder))


def test_taken_and_given_back(tmp_path):
    with run_lock(tmp_path, "planning"), run_lock(tmp_path, "preprocessing"):
        assert files(tmp_path) == [NAME]
    assert files(tmp_path) == []
    with pytest.raises(ValueError, match="inside"), run_lock(tmp_path, "planning"):
        raise ValueError("inside")
    assert files(tmp_path) == []


def test_a_living_process_keeps_others_out_and_the_line_says_who(tmp_path):
    with lock_holder(tmp_path) as process:
        who = f"found training, process {process.pid} on {socket.gethostname()}"
        with pytest.raises(UserError, match=who) as error:
            take_lock(tmp_path, "training")
        assert f"kill {process.pid}" in str(error.value)
        assert "\n" not in str(error.value)
        assert files(tmp_path) == [NAME]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_is_taken_over_from_and_that_is_said(tmp_path, how):
    with lock_holder(tmp_path) as process:
        process.send_signal(how)
        process.wait()
    said: list[str] = []
    with run_lock(tmp_path, "training", say=said.append):
        pass
    if how == signal.SIGKILL:
        (line,) = said
        assert line.startswith(f"{tmp_path}: taken over from training, process {process.pid} on ")
    assert files(tmp_path) == []


def test_waiting_for_another_process(tmp_path):
    with lock_holder(tmp_path) as process:
        killer = threading.Timer(0.5, process.kill)
        killer.start()
        with run_lock(tmp_path, "collecting", wait=20):
            assert process.wait() == -signal.SIGKILL


def test_forked_workers_do_not_hold_the_lock(tmp_path):
    """The holder is killed while a process that it forked lives on."""
    code = HOLD.replace("time.sleep(60)", "")
    code += "import os\nif os.fork() == 0: print(os.getpid(), flush=True)\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    worker = int(process.stdout.readline())
    try:
        process.kill()
        process.wait()
        with run_lock(tmp_path, "training"):
            os.kill(worker, 0)
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_folder_that_was_made_again_is_taken_again(tmp_path):
    folder = tmp_path / "fold_0"
    folder.mkdir()
    take_lock(folder, "training")
    (folder / NAME).unlink()
    folder.rmdir()
    folder.mkdir()
    take_lock(folder, "training")
    assert files(folder) == [NAME]
    release_lock(folder)
    assert files(folder) == []


def test_another_host_is_refused_unless_the_locks_of_the_file_system_reach_it(tmp_path, monkeypatch):
    leave(tmp_path, host="node7")
    monkeypatch.setattr(module, "_reach_all_hosts", lambda folder: False)
    with pytest.raises(UserError, match=rf"found training, process .* on node7 .* if it has ended, delete .*{NAME}"):
        take_lock(tmp_path, "training")
    monkeypatch.setattr(module, "_reach_all_hosts", lambda folder: True)
    with run_lock(tmp_path, "training"):
        pass


@pytest.mark.parametrize(
    ("mount", "reaches"),
    [
        ("- ext4 /dev/sda1 rw", True),
        ("- overlay overlay rw,lowerdir=/a", True),
        ("shared:7 - nfs4 server:/home rw,vers=4.2,local_lock=none", True),
        ("- nfs server:/home rw,nolock,local_lock=all", False),
        ("- lustre fs:/work rw,flock,lazystatfs", True),
        ("- lustre fs:/work rw,localflock,lazystatfs", False),
        ("- beegfs beegfs_nodev rw", False),
    ],
)
def test_which_locks_reach_all_hosts(tmp_path, monkeypatch, mount, reaches):
    device = os.stat(tmp_path).st_dev
    line = f"36 35 {os.major(device)}:{os.minor(device)} / /mnt rw,noatime {mount}\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"22 1 0:21 / /proc rw - proc proc rw\n{line}")
    assert module._reach_all_hosts(tmp_path) is reaches


class TestWithoutLocks:
    """A file system that has no locks: process number and its start decide."""

    @pytest.fixture(autouse=True)
    def _no_locks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(module.fcntl, "lockf", refuse)

    def test_alive(self, tmp_path):
        leave(tmp_path, pid=os.getpid())
        with pytest.raises(UserError, match="expected nobody at work there"):
            take_lock(tmp_path, "training")

    def test_dead(self, tmp_path):
        ended = subprocess.Popen(["true"])
        ended.wait()
        leave(tmp_path, pid=ended.pid)
        with run_lock(tmp_path, "training"):
            pass

    def test_another_process_has_the_number_now(self, tmp_path):
        leave(tmp_path, pid=os.getpid(), process_start="17")
        with run_lock(tmp_path, "training"):
            pass


def test_the_lock_of_another_user(tmp_path, monkeypatch):
    with lock_holder(tmp_path):
        assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o666
    leave(tmp_path)
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(UserError, match=rf"found the lock of another user.* delete {tmp_path / NAME}"):
        take_lock(tmp_path, "training")


def test_a_folder_that_cannot_be_written_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    start = time.monotonic()
    with pytest.raises(UserError, match="expected a folder that can be written"):
        take_lock(tmp_path, "collecting", wait=60)
    assert time.monotonic() - start < 10


def test_text_that_was_cut_short_is_nobodys(tmp_path):
    (tmp_path / NAME).write_text('{"pid": 1')
    with run_lock(tmp_path, "training"):
        pass


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match="expected a folder that can be written, got 'No such file"):
        take_lock(tmp_path / "gone", "training")
