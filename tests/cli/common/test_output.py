"""Terminals without a sign for what is printed, logs, and readers that stop reading."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys

import pytest
from tqdm import tqdm

from nnunet_ext.cli.common.output import shown_logs

PRINT = """
import sys
from nnunet_ext.cli import main as module
class Show(module.Command):
    name = "show"
    @classmethod
    def parse(cls, words):
        return cls()
    def run(self):
        for _ in range(int(sys.argv[1])):
            print("0.9 ± 0.1 größer")
        print("± on stderr", file=sys.stderr)
        return 0
module.COMMANDS["show"] = Show
sys.argv[1:], sys.argv = [sys.argv[1]], [sys.argv[0], *sys.argv[1:]]
code = module.main(["show"])
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", b"0.9 \\xb1 0.1 gr\\xf6\\xdfer\n"), ("koi8-r", b"0.9 \\xb1 0.1 gr\\xf6\\xdfer\n"), ("utf-8", None)],
)
def test_any_encoding(encoding, shown):
    done = subprocess.run(
        [sys.executable, "-c", PRINT, "1"], capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (shown or "0.9 ± 0.1 größer\n".encode())
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_closed_pipe_is_quiet(lines):
    """It is found when the program ends (one line), or in the middle."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRINT, str(lines)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait() == 141
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


def test_without_a_terminal_at_all(tmp_path):
    """``nnunet_ext sockets >&-``"""
    words = f"exec {sys.executable} -m nnunet_ext.cli.main sockets >&- 2>{tmp_path / 'errors'}"
    assert subprocess.run(["bash", "-c", words], check=False).returncode == 0
    assert (tmp_path / "errors").read_text() == ""


def test_the_files_of_a_comparison_are_utf_8_whatever_the_terminal_has(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from nnunet_ext.cli.common.shell import Shell\n"
        f"Shell(dict(os.environ), Path({str(tmp_path)!r})).run((sys.executable, '-c', 'print(\"\\xb1\")'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii:backslashreplace"},
    )
    assert done.returncode == 0, done.stderr
    (log,) = tmp_path.glob("*.log")
    assert log.read_text(encoding="utf-8").splitlines()[-1] == "±"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, "nnunet_ext: about\n"),
        ({"verbose": False}, "nnunet_ext: about\n"),
        ({"verbose": True}, "nnunet_ext: detail\nnnunet_ext: about\n"),
    ],
)
def test_logs_are_shown_in_the_context_alone(capsys, options, shown):
    package, module = logging.getLogger("nnunet_ext"), logging.getLogger("nnunet_ext.prediction.predictor")
    before = package.handlers[:], package.level
    with contextlib.suppress(KeyError), shown_logs(**options):
        module.debug("detail")
        module.info("about")
        logging.getLogger("other").info("other")
        raise KeyError
    assert (package.handlers, package.level) == before
    module.info("later")
    assert capsys.readouterr() == ("", shown)


def test_logs_are_above_progress_bars(capsys):
    with shown_logs(), tqdm(total=2, desc="cases", file=sys.stderr) as bar:
        bar.update()
        logging.getLogger("nnunet_ext").info("about")
    lines = capsys.readouterr().err.splitlines()
    assert "nnunet_ext: about" in lines  # on a line of its own
