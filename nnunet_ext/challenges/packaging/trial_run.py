"""Runs the entry point of a package as a process, without docker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from nnunet_ext.challenges.container.entry_point import EXEC
from nnunet_ext.challenges.packaging.model_tar import FILE
from nnunet_ext.errors import UserError

KEPT = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "SYSTEMROOT")
NO_NETWORK = ("unshare", "--net", "--map-root-user")


def trial_run(package: Path) -> Path:
    """Predict the test input of a package with its model, in a process with empty home and, if it can be, no network.

    Args:
        package: The folder that ``nnunet_ext package`` wrote.

    Returns:
        The output, in ``test/output`` of the package.

    Raises:
        UserError: The process failed, or wrote other than one file.
    """
    with TemporaryDirectory(prefix="nnunet_ext_trial_") as place:
        root = Path(place)
        folders = {name: root / name for name in ("home", "tmp", "model", "output")}
        for folder in folders.values():
            folder.mkdir()
        with tarfile.open(package / FILE) as archive:
            archive.extractall(folders["model"], filter="data")
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        kept |= {"HOME": str(folders["home"]), "TMPDIR": str(folders["tmp"])}
        words = [*_without_network(), sys.executable, "-m", "nnunet_ext.challenges.container", EXEC]
        words += ["--input", str(package.absolute() / "test" / "input" / "interf0"), "--output", str(folders["output"])]
        words += ["--model", str(folders["model"]), "--settings", str(package.absolute() / "container.json")]
        done = subprocess.run(words, env=kept, cwd=root, capture_output=True, text=True, check=False)
        written = [file for file in folders["output"].rglob("*") if file.is_file()]
        if done.returncode != 0 or len(written) != 1:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(
                f"{package}: expected the entry point to end with 0 and one file, got {done.returncode} and "
                f"{len(written)}: {last} Correct what it names, and run nnunet_ext package again."
            )
        target = package / "test" / "output" / written[0].name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(written[0], target)
    return target


def _without_network() -> tuple[str, ...]:
    """The words before a command that takes the network from it; none where the system does not let us."""
    if shutil.which(NO_NETWORK[0]) is None:
        return ()
    tried = subprocess.run([*NO_NETWORK, "true"], capture_output=True, check=False)
    return NO_NETWORK if tried.returncode == 0 else ()
