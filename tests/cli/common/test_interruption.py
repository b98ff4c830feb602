"""Signals end a command in one line, with 128 + the signal, and leave nothing running.

The command is one of these tests' own in the real program: it imports nothing heavy. Its workers are those that nnU-Net
has: a pool of spawned processes, forked loaders, and a thread that is unhappy when loaders end.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnunet_ext.cli.common.interruption import interruptible
from nnunet_ext.cli.main import COMMANDS, main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
PROGRAM = """
import atexit, multiprocessing, sys, threading, time
from pathlib import Path
from nnunet_ext.processes.run_lock import run_lock
from nnunet_ext.cli import main as module
from nnunet_ext.cli.common import interruption

def forever(*_):
    while True:
        time.sleep(0.01)

def watch(loader):
    loader.join()
    raise RuntimeError("One or more background workers are no longer alive")

class Work(module.Command):
    name = "work"
    after_interruption = "Advice."
    has_workers = True
    @classmethod
    def parse(cls, words):
        return cls()
    def run(self):
        loader = multiprocessing.get_context("fork").Process(target=forever, daemon=True)
        loader.start()
        threading.Thread(target=watch, args=(loader,), daemon=True).start()
        with run_lock(Path("."), "working"), multiprocessing.get_context("spawn").Pool(2) as pool:
            pool.map(abs, [1, 2])
            Path("ready").touch()
            pool.map(time.sleep, [60, 60])

class Deaf(Work):
    name = "deaf"
    def run(self):
        interruption.GRACE = 1.0
        while True:
            try:
                super().run()
            except KeyboardInterrupt:
                pass

class Forks(Work):
    name = "forks"
    def run(self):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            Path("ready").touch()
            pool.map(time.sleep, [60, 60])

class Replaces(Work):
    name = "replaces"
    def run(self):
        global pool  # nobody closes it: it replaces its workers until the process has ended
        pool = multiprocessing.get_context("fork").Pool(2)
        atexit.register(time.sleep, 1)  # which takes a while
        Path("ready").touch()
        pool.map(time.sleep, [60, 60])

module.COMMANDS["replaces"] = Replaces
module.COMMANDS["work"] = Work
module.COMMANDS["forks"] = Forks
module.COMMANDS["deaf"] = Deaf
if __name__ == "__main__":
    sys.exit(module.main())
"""


def start(folder: Path, command: str = "work", prefix: tuple[str, ...] = ()) -> subprocess.Popen:
    (folder / "program.py").write_text(PROGRAM)
    words = [*prefix, sys.executable, "program.py", command]
    with (folder / "out.txt").open("w") as out:
        # children inherit what is ignored: by nohup, by a shell for its jobs in the background
        before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGINT)}
        try:
            process = subprocess.Popen(words, cwd=folder, stdout=out, stderr=out, start_new_session=True)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    end = time.monotonic() + 60
    while not (folder / "ready").exists():
        assert process.poll() is None, (folder / "out.txt").read_text()
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.1)
    return process


def session(process: subprocess.Popen) -> list[str]:
    """What still runs of a command and its workers."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[3]) == process.pid and words[0] != "Z":
            found.append(stat.parent.name)
    return found


def check_end(process: subprocess.Popen, folder: Path, number: int, advice: str = "Advice.") -> None:
    assert process.wait(30) == 128 + number
    end = time.monotonic() + 5  # multiprocessing's tracker ends after us
    while session(process) and time.monotonic() < end:
        time.sleep(0.05)
    assert session(process) == []
    text = (folder / "out.txt").read_text()
    assert text == f"\nnnunet_ext: interrupted ({signal.Signals(number).name}). {advice}\n"


@pytest.mark.parametrize(
    ("number", "to"),
    [(signal.SIGINT, "group"), (signal.SIGINT, "process"), (signal.SIGTERM, "process"), (signal.SIGHUP, "group")],
)
def test_one_line_the_code_and_nothing_left(tmp_path, number, to):
    process = start(tmp_path)
    (os.killpg if to == "group" else os.kill)(process.pid, number)
    check_end(process, tmp_path, number)
    assert {file.name for file in tmp_path.iterdir()} == {"program.py", "out.txt", "ready"}  # no lock


def test_a_pool_that_replaces_its_workers_until_the_end(tmp_path):
    """Those end with the process, and as if no signal were handled."""
    process = start(tmp_path, "replaces")
    process.send_signal(signal.SIGINT)
    check_end(process, tmp_path, signal.SIGINT)


def test_a_main_thread_that_does_not_come_back_is_ended(tmp_path):
    process = start(tmp_path, "deaf")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert 0.5 < time.monotonic() - began < 15
    assert "interrupted (SIGINT). Advice." in (tmp_path / "out.txt").read_text()


def test_a_killed_command_leaves_no_worker(tmp_path):
    process = start(tmp_path, "forks")
    process.kill()
    process.wait()
    end = time.monotonic() + 5
    while session(process) and time.monotonic() < end:
        time.sleep(0.05)
    assert session(process) == []


def test_ignored_signals_stay_ignored(tmp_path):
    process = start(tmp_path, prefix=("nohup",))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    check_end(process, tmp_path, signal.SIGTERM)


def test_in_this_process_the_handlers_come_back(monkeypatch, capfd):
    def interrupted(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    monkeypatch.setattr(COMMANDS["info"], "run", interrupted)
    assert main(["info"]) == 143
    assert capfd.readouterr().err == f"\nnnunet_ext: interrupted (SIGTERM). {COMMANDS['info'].after_interruption}\n"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_workers_of_somebody_else_are_left_alone(monkeypatch):
    theirs = subprocess.Popen(["sleep", "60"])
    try:
        with interruptible("") as interruption:
            ours = subprocess.Popen(["sleep", "60"])
            interruption.close()
            assert ours.wait(5) == -signal.SIGTERM
            assert theirs.poll() is None
    finally:
        theirs.kill()
        theirs.wait()


def test_every_command_says_what_to_do_after_an_interruption():
    for command in COMMANDS.values():
        assert command.after_interruption.endswith(".")
    assert "--c" in COMMANDS["train"].after_interruption


def test_every_row_of_the_table_of_interruptions_names_tests_that_there_are():
    root = Path(__file__).parents[3]
    rows = [line for line in (root / "docs" / "checkpoints.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for row in rows:
        named = re.findall(r"`((?:\w+/)*test_\w+\.py)(?:::(\w+))?`", row)
        assert named, row
        for file, name in named:
            (found,) = (root / "tests").rglob(file)
            assert f"def {name}" in found.read_text(), row


FORKING = """
import os, signal, time
worker = []

def at_once():
    if worker:  # as a pool that ends just when a worker is forked
        os.kill(os.getpid(), signal.SIGTERM)

os.register_at_fork(after_in_child=at_once)  # runs before that of the package
from nnunet_ext.cli.common.interruption import interruptible

with interruptible("Advice."):
    worker.append(True)
    child = os.fork()
    if not child:
        time.sleep(30)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)  # the parent hears it still
"""


def test_a_worker_that_is_ended_while_it_is_forked_ends():
    words = [sys.executable, "-c", FORKING]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == f"{-signal.SIGTERM}\n"
    assert "Interrupted" in done.stderr
    assert done.stderr.count("Traceback") == 1
