"""Kill preprocess -> train -> predict -> compare at random instants, continue, and compare the labels.

    python benchmarks/kills.py --kills 100 --seed 0 --work /tmp/kills

SIGKILL, SIGTERM and SIGINT take turns. The killed command is run again (training with --c), then the rest of the chain.
Counted are the continuations that end with the labels of the run that was not killed, and those that are refused in one
line; reported are processes, locks and partial files left behind, and tracebacks, with the logs of such kills. The data
are phantoms; the training is seeded and short. SIGINT goes to the whole process group, as from a terminal; SIGKILL and
SIGTERM to the command alone.

The commands run in processes forked from this one, which has imported torch and nnU-Net once. Unlike in real commands,
worker pools are forked instead of spawned, and so are the programs that compare starts.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import faulthandler
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import nibabel
import numpy as np

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
NUMBER, NAME = "991", "Dataset991_Kills"
KNOBS = ("num_epochs=2", "num_iterations_per_epoch=2", "num_val_iterations_per_epoch=1", "seed=0")
PATIENCE = 300.0  # seconds for a command
PRELOADED = (
    "matplotlib.pyplot",
    "nnunetv2.evaluation.evaluate_predictions",
    "nnunetv2.experiment_planning.plan_and_preprocess_api",
    "nnunetv2.inference.predict_from_raw_data",
    "nnunetv2.preprocessing.preprocessors.default_preprocessor",
    "nnunetv2.run.run_training",
    "nnunet_ext.methods.baseline.planner",
    "nnunet_ext.comparison.run",
    "nnunet_ext.cli.common.shell",
    "nnunet_ext.methods.mean_teacher.trainer",
    "SimpleITK",
    "skimage.transform",
    "sklearn.model_selection",
    "timm.layers",
    "torch._dynamo",
)


class Forked:
    """``subprocess.Popen`` for commands of this package and of nnU-Net: a fork of this process, in its own session.

    Args:
        words: Program and arguments.
        env: Its variables.
        stdout: Descriptor of its output.
        preexec_fn: Called in it first.
    """

    def __init__(
        self,
        words: Sequence[str],
        env: Mapping[str, str],
        stdout: int,
        preexec_fn: Callable[[], object] | None = None,
        **_: Any,
    ) -> None:
        sys.stdout.flush()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _run(words, env, stdout, preexec_fn)

    def poll(self) -> int | None:
        """Return the exit code, or None."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end."""
        end = time.monotonic() + (PATIENCE if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("forked command", timeout or PATIENCE)
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode


def _run(words: Sequence[str], env: Mapping[str, str], output: int, first: Callable[[], object] | None) -> NoReturn:
    """Body of a forked command."""
    code = 1
    try:
        os.setsid()
        if first is not None:
            first()
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        variables = dict(env)
        os.environ.clear()
        os.environ.update(variables)
        faulthandler.enable(output)  # a crash in C says where
        code = _call(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        with contextlib.suppress(ValueError):  # closed: an error came while nnU-Net had replaced it
            sys.stdout.flush()
        os._exit(code)


def _call(words: Sequence[str]) -> int:
    from nnunetv2.inference.predict_from_raw_data import predict_entry_point
    from nnunetv2.run.run_training import run_training_entry

    from nnunet_ext.cli.start import start

    sys.argv = list(words)
    if words[0] == "nnunet_ext":
        return start()
    {"nnUNetv2_train": run_training_entry, "nnUNetv2_predict": predict_entry_point}[words[0]]()
    return 0


@dataclass
class Chain:
    """The commands, and the folder that they work in.

    Args:
        work: The folder.
        trainer: The trainer.
    """

    work: Path
    trainer: str

    @property
    def commands(self) -> list[list[str]]:
        """The commands as typed."""
        model = ["-tr", self.trainer, "-p", "LitePlans"]
        scored = ["--test_images", f"{self.raw}/imagesTs", "--test_labels", f"{self.raw}/labelsTs"]
        plan = ["-d", NUMBER, "-pl", "LitePlanner", "-c", "3d_fullres", "-npfp", "1", "-np", "2", "--no_pbar"]
        quiet = ["--disable_progress_bar", "-npp", "1", "-nps", "1"]
        data = ["-d", NUMBER, "-c", "3d_fullres", "-f", "0", "-device", "cpu"]
        out = f"{self.work}/predictions"
        return [
            ["nnunet_ext", "plan_and_preprocess", *plan, "--set", *KNOBS],
            ["nnunet_ext", "train", NUMBER, "3d_fullres", "0", *model, "-device", "cpu"],
            ["nnunet_ext", "predict", *data, *model, "-i", f"{self.raw}/imagesTs", "-o", out, *quiet],
            ["nnunet_ext", "compare", *data, "-p", "LitePlans", "-o", f"{self.work}/cmp", *scored, "-tr", self.trainer],
        ]

    @property
    def raw(self) -> Path:
        """The dataset's folder in nnUNet_raw."""
        return self.work / "raw" / NAME

    def start(self, stage: int, log: Path, *, again: bool = False) -> Forked:
        """Start a command; one that was killed is repeated as its user would repeat it."""
        words = self.commands[stage] + (["--c"] if again and stage == 1 else [])
        with log.open("w") as stream:
            return Forked(words, os.environ, stream.fileno())

    def labels(self) -> dict[str, bytes]:
        """Return every label map that the chain has written."""
        files = [file for file in self.work.rglob("*.nii.gz") if self.work / "raw" not in file.parents]
        return {str(file.relative_to(self.work)): np.asarray(nibabel.load(file).dataobj).tobytes() for file in files}

    def left_behind(self) -> list[str]:
        """Return partial files and locks."""
        patterns = ("*.partial", ".nnunet_ext.lock", ".*.in_use")
        return [str(file.relative_to(self.work)) for pattern in patterns for file in self.work.rglob(pattern)]


def session(leader: int) -> list[str]:
    """Return the processes in a session and in the sessions that its commands started."""
    found, sessions = {}, {leader}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = stat.read_text(errors="replace").rpartition(")")[2].split()
            if words[0] not in "ZX":
                found[stat.parent.name] = int(words[1]), int(words[3])
    grown = True
    while grown:
        of = {int(pid) for pid, (parent, own) in found.items() if own in sessions or parent in sessions}
        grown = not of <= sessions
        sessions |= of
    return [pid for pid, (_, own) in found.items() if own in sessions]


def prepare(work: Path) -> None:
    """Write the data, set the variables, import all that commands need, and let forks stand in for other processes."""
    import torch

    from nnunet_ext import sockets
    from nnunet_ext.phantoms.dataset import write_phantom_dataset

    for variable, part in (("nnUNet_raw", "raw"), ("nnUNet_preprocessed", "pre"), ("nnUNet_results", "res")):
        (work / part).mkdir(parents=True)
        os.environ[variable] = str(work / part)
    os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1", "OMP_NUM_THREADS": "1"}
    os.environ[sockets.VARIABLE] = str(sockets.folder("trainers"))
    write_phantom_dataset(work / "raw", NAME, cases=5, unseen=2, unlabelled=2, shape=(12, 24, 24))
    for module in PRELOADED:
        with contextlib.suppress(ModuleNotFoundError):
            __import__(module)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it, and so would forks
    torch.set_num_threads(1)
    torch.set_num_threads = lambda _: None  # a forked worker of more than one thread would hang
    get_context = multiprocessing.get_context
    multiprocessing.get_context = lambda kind=None: get_context("fork" if kind == "spawn" else kind)  # type: ignore
    import nnunet_ext.cli.common.shell as shell

    shell.subprocess = type("subprocess", (), {**vars(subprocess), "Popen": Forked})  # type: ignore[assignment]


def reference(chain: Chain, snapshots: Path) -> list[float]:
    """Run the chain without kills, the first command twice; keep the folder before each; return the durations."""
    durations = []
    for stage in range(len(chain.commands)):
        shutil.copytree(chain.work, snapshots / str(stage), symlinks=True)
        began = time.monotonic()
        log = snapshots / f"{stage}.txt"
        if chain.start(stage, log).wait() != 0:
            raise SystemExit(f"{log}: the command failed:\n{log.read_text()[-3000:]}")
        durations.append(time.monotonic() - began)
    return durations


@dataclass
class Outcome:
    """The outcome of one kill.

    Args:
        stage: The command that was killed.
        signum: The signal.
        code: Its exit code.
        result: ``equal``, ``refused`` or what went wrong.
        problems: What was left behind, and tracebacks.
    """

    stage: int
    signum: int
    code: int
    result: str
    problems: list[str]


def kill_and_continue(
    chain: Chain, snapshots: Path, logs: Path, durations: Sequence[float], signum: int, rng: random.Random
) -> tuple[Outcome, dict[str, bytes]]:
    """Kill the chain at a random instant, continue it, and examine the outcome."""
    instant = rng.uniform(0, sum(durations))
    stage = 0
    while instant > durations[stage]:
        instant -= durations[stage]
        stage += 1
    shutil.rmtree(chain.work)
    shutil.copytree(snapshots / str(stage), chain.work, symlinks=True)
    victim = chain.start(stage, logs / "killed.txt")
    with contextlib.suppress(subprocess.TimeoutExpired):
        victim.wait(instant)
    if victim.poll() is None:
        (os.killpg if signum == signal.SIGINT else os.kill)(victim.pid, signum)
    code = victim.wait()
    problems = _problems_of(victim, code, signum, (logs / "killed.txt").read_text(errors="replace"))
    result = "equal"
    for number in range(stage, len(chain.commands)):
        log = logs / f"{number}.txt"
        ended = chain.start(number, log, again=number == stage).wait()
        if ended != 0:
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            said = lines[-1] if lines else ""
            refused = ended == 2 and said.startswith("nnunet_ext: error: ")
            result = f"refused: {said}" if refused else f"exit code {ended}: {said}"
            break
    else:
        problems += [f"left: {name}" for name in chain.left_behind()]
    return Outcome(stage, signum, code, result, problems), chain.labels()


def _problems_of(victim: Forked, code: int, signum: int, said: str) -> list[str]:
    end = time.monotonic() + 15
    while (left := session(victim.pid)) and time.monotonic() < end:
        time.sleep(0.05)
    problems = []
    for pid in left:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            problems.append(f"still runs: {pid} {words}")
            os.kill(int(pid), signal.SIGKILL)
    expected = -signum if signum == signal.SIGKILL else 128 + signum
    if code not in (expected, 0):
        problems.append(f"exit code {code} after {signal.Signals(signum).name}: {said[-300:]}")
    if signum != signal.SIGKILL and "Traceback" in said:
        problems.append(f"traceback: {said[said.index('Traceback') :][:3000]}")
    return problems


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--trainer", default="MeanTeacherTrainer", help="one whose seeded runs repeat exactly when resumed"
    )
    parser.add_argument("--work", type=Path, required=True, help="an empty or new folder")
    return parser.parse_args()


def main() -> int:
    """Kill, continue, count; return 1 if anything is wrong."""
    options = parse()
    folder = options.work.resolve()
    chain, snapshots, logs = Chain(folder / "work", options.trainer), folder / "snapshots", folder / "logs"
    for each in (snapshots, logs):
        each.mkdir(parents=True)
    prepare(chain.work)
    durations = reference(chain, snapshots)
    wanted = chain.labels()
    print(f"unharmed: {len(wanted)} label maps, seconds of each command {[round(each, 1) for each in durations]}")
    rng, outcomes = random.Random(options.seed), []
    for number in range(options.kills):
        outcome, labels = kill_and_continue(chain, snapshots, logs, durations, SIGNALS[number % len(SIGNALS)], rng)
        if outcome.result == "equal" and labels != wanted:
            differing = [name for name in sorted({*labels, *wanted}) if labels.get(name) != wanted.get(name)]
            outcome.result = f"other labels: {differing[:3]}"
        outcomes.append(outcome)
        if outcome.problems or outcome.result != "equal":
            shutil.copytree(logs, folder / f"logs of {number + 1}")
        command = chain.commands[outcome.stage][1]
        print(f"{number + 1}: {signal.Signals(outcome.signum).name} in {command}, exit code {outcome.code}: ", end="")
        print("; ".join([outcome.result, *outcome.problems]), flush=True)
    killed = {each.name: sum(outcome.code != 0 and outcome.signum == each for outcome in outcomes) for each in SIGNALS}
    equal = sum(outcome.result == "equal" for outcome in outcomes)
    refused = sum(outcome.result.startswith("refused") for outcome in outcomes)
    wrong = len(outcomes) - equal - refused + sum(bool(outcome.problems) for outcome in outcomes)
    counted = {"kills": len(outcomes), "in time": killed, "equal": equal, "refused": refused, "wrong": wrong}
    print(json.dumps(counted))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
