"""Commands are printed, logged, watched and ended."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnunet_ext.cli.common.shell import Shell
from nnunet_ext.errors import UserError


@pytest.fixture
def shell(tmp_path):
    """A shell in which ``py`` is this Python."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "py").symlink_to(sys.executable)
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    return Shell({**os.environ, "PATH": path, "GREETING": "hello"}, tmp_path)


def test_command_is_printed_and_logged(shell, capsys):
    shell.run(("py", "-c", "import os; print(os.environ['GREETING'])"))
    line = """$ py -c 'import os; print(os.environ['"'"'GREETING'"'"'])'"""
    assert line in capsys.readouterr().out
    assert (shell.logs / "01_py.log").read_text() == f"{line}\nhello\n"


def test_logs_are_numbered(shell):
    shell.run(("py", "-c", "pass"))
    shell.run(("py", "-c", "pass"))
    assert sorted(file.name for file in shell.logs.glob("*.log")) == ["01_py.log", "02_py.log"]


def test_failure_names_the_log_and_its_last_line(shell):
    with pytest.raises(UserError, match=r"01_py.log: .* exit code 3 and 'out of memory'") as error:
        shell.run(("py", "-c", "print('out of memory\\n\\n'); raise SystemExit(3)"))
    assert "\n" not in str(error.value)


def test_missing_program(shell):
    with pytest.raises(UserError, match="nnUNetv2_nothing: expected this command on PATH"):
        shell.run(("nnUNetv2_nothing",))


def test_training_shows_its_epochs(shell, capsys):
    code = "import time\nfor e in range(3): print('2026-11-21: Epoch', e, flush=True); time.sleep(1)"
    shell.run(("py", "-c", code), epochs=3)
    shown = capsys.readouterr().err
    assert "0/3 epochs" in shown
    assert "3/3 epochs" in shown


def test_a_failed_training_is_not_shown_as_done(shell, capsys):
    with pytest.raises(UserError, match="exit code 1"):
        shell.run(("py", "-c", "print('Epoch 0'); raise SystemExit(1)"), epochs=2)
    assert "2/2 epochs" not in capsys.readouterr().err


def test_an_interrupted_command_takes_its_workers_along(shell, tmp_path, monkeypatch):
    def interrupt(*_):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().endswith("\n"):
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(Shell, "_watch", staticmethod(interrupt))
    file = str(tmp_path / "pid")
    code = f"import os, time; pid = os.fork()\nif pid: print(pid, file=open({file!r}, 'w'))\ntime.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        shell.run(("py", "-c", code))
    assert ended(int((tmp_path / "pid").read_text()))


def test_a_command_ends_when_nnunet_ext_is_killed(tmp_path):
    """Not only on Ctrl-C: SIGKILL, the memory, a job's limit."""
    code = "import time; print('ready', flush=True); time.sleep(60)"
    parent = (
        f"import os, sys; from pathlib import Path; from nnunet_ext.cli.common.shell import Shell\n"
        f"Shell(dict(os.environ), Path({str(tmp_path)!r})).run((sys.executable, '-c', {code!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    log = None
    while log is None or "ready" not in log.read_text():
        log = next(tmp_path.glob("*.log"), None)
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    assert len(children) == 1
    assert ended(int(children[0]))


def ended(pid, seconds=5):
    """Whether a process is gone, or dead and waiting to be collected, within so many seconds."""
    for _ in range(seconds * 20):
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False
