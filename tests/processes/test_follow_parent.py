"""Workers end when the process that started them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

FORKED = """
import os, time
from nnunet_ext.processes.follow_parent import children_follow
with children_follow():
    worker = os.fork()
if worker:
    print(worker, flush=True)
time.sleep(60)
"""
KILLED_AT_ONCE = """
import os, signal, sys, time
from nnunet_ext.processes import follow_parent
killed = follow_parent.end_with_parent
def late():
    os.kill(os.getppid(), signal.SIGKILL)  # before the child has asked the kernel for anything
    time.sleep(1)
    killed()
follow_parent.end_with_parent = late
with follow_parent.children_follow():
    worker = os.fork()
if not worker:
    print("lives on", flush=True)
time.sleep(60)
"""
NOT_FOLLOWING = FORKED.replace("with children_follow():", "if True:")
SPAWNED = """
import multiprocessing, time
from nnunet_ext.processes.follow_parent import follow_parent
follow_parent()
if __name__ == "__main__":
    worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,), daemon=True)
    worker.start()
    print(worker.pid, flush=True)
    time.sleep(60)
"""


def ended(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def kill(tmp_path, code: str) -> int:
    """Run a script, kill it when it has told the number of its worker; return that."""
    script = tmp_path / "script.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    if "spawn" in code:
        while b"spawn_main" not in open(f"/proc/{worker}/cmdline", "rb").read():  # noqa: SIM115
            time.sleep(0.05)
        time.sleep(1)  # it imports the script
    process.kill()
    process.wait()
    return worker


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")
@pytest.mark.parametrize("code", [FORKED, SPAWNED])
def test_workers_of_a_killed_process_end(tmp_path, code):
    assert ended(kill(tmp_path, code), 10)


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_a_worker_whose_parent_is_killed_at_once_ends_too(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_ONCE], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert "lives on" not in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")
def test_only_what_is_forked_inside_follows(tmp_path):
    worker = kill(tmp_path, NOT_FOLLOWING)
    try:
        assert not ended(worker, 0.5)
    finally:
        os.kill(worker, signal.SIGKILL)
