"""Run commands the way a user would: printed first, logged, with a progress bar."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from nnunet_ext.errors import UserError
from nnunet_ext.processes.follow_parent import end_with_parent

EPOCH = re.compile(r"\bEpoch (\d+)\s*$", re.MULTILINE)  # nnU-Net's log opens each epoch so, counting from 0
POLL_SECONDS = 0.5
UTF8 = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}  # for logs, regardless of the terminal


@dataclass
class Shell:
    """Runs one command after the other and stops at the first that fails.

    Args:
        environment: Variables of the commands.
        logs: Folder for ``01_<command>.log`` and so on.
    """

    environment: dict[str, str]
    logs: Path
    commands: list[str] = field(default_factory=list)

    def run(self, words: Sequence[str], *, epochs: int = 0) -> None:
        """Print a command, run it and show its progress.

        Args:
            words: Program and arguments.
            epochs: If this is a training, its length.

        Raises:
            UserError: The command does not exist or ends with an error.
        """
        command = shlex.join(words)
        self.commands.append(command)
        name = words[1] if words[0] == "nnunet_ext" else Path(words[0]).name
        self.logs.mkdir(exist_ok=True)
        log = self.logs / f"{len(self.commands):02d}_{name}.log"
        print(f"\n$ {command}", flush=True)
        with log.open("w", encoding="utf-8") as stream:
            stream.write(f"$ {command}\n")
            stream.flush()
            with self._process(words, stream.fileno()) as process:
                self._watch(process, log, epochs)
        if process.returncode != 0:
            lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            raise UserError(
                f"{log}: expected the command to succeed, got exit code {process.returncode} and "
                f"{lines[-1].strip()!r}. Read this log; its first line is the command."
            )

    @contextlib.contextmanager
    def _process(self, words: Sequence[str], output: int) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command; if we end early, it and its workers end too."""
        try:
            process = subprocess.Popen(
                words,
                env={**self.environment, **UTF8},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_follow if hasattr(os, "fork") else None,
            )
        except OSError as error:
            raise UserError(
                f"{words[0]}: expected this command on PATH, got {error.strerror!r}. Install nnunet_ext with pip; "
                f"nnU-Net's commands come with it."
            ) from error
        try:
            yield process
        finally:
            if process.poll() is None:
                _end(process)
                process.wait()

    @staticmethod
    def _watch(process: subprocess.Popen[bytes], log: Path, epochs: int) -> None:
        elapsed = "  {desc} {elapsed}"
        counted = "  {desc} |{bar:30}| {n_fmt}/{total_fmt} epochs, {elapsed} (left: {remaining})"
        with tqdm(
            desc="training" if epochs else "running",
            total=epochs or None,
            bar_format=counted if epochs else elapsed,
            mininterval=POLL_SECONDS if sys.stderr.isatty() else 15,
        ) as bar:
            while process.poll() is None:
                if epochs:
                    bar.update(_epochs_done(log) - bar.n)
                else:
                    bar.update()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_SECONDS)
            if epochs and process.returncode == 0:
                bar.update(epochs - bar.n)


def _epochs_done(log: Path) -> int:
    begun = EPOCH.findall(log.read_text(encoding="utf-8", errors="replace"))
    return int(begun[-1]) if begun else 0


def _follow() -> None:
    """In a new command: accept Ctrl-C again, which nnunet_ext blocks; end when nnunet_ext is killed."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end_with_parent(signal.SIGTERM)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command and its workers; Windows has no process groups, there the workers follow by themselves."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.terminate()
