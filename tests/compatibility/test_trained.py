"""Plans, models and collections of an earlier commit resume, validate and predict the same labels, bit for bit."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parent / "trained.py"
EARLIER = "4ad8f11"  # the last commit before the package was laid out in folders


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the earlier commit."""
    folder = tmp_path_factory.mktemp("earlier")
    archive = subprocess.run(["git", "archive", EARLIER], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"no git history with {EARLIER}: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "x", "-C", folder], input=archive.stdout, check=True)
    return folder


def run(package: Path, step: str, folder: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(package),
        "nnUNet_extTrainer": str(package / "trainers"),
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "1",
    }
    words = [sys.executable, SCRIPT, step, folder]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def labels(folder: Path) -> dict[str, str]:
    """Digest of every label map that was predicted or validated."""
    places = [folder / name for name in ("single", "view", "tasks", "results")]
    files = [file for place in places for file in sorted(place.rglob("*.nii.gz"))]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.slow
def test_models_of_an_earlier_commit(earlier: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    run(earlier, "make", tmp_path / "made")
    for name in ("before", "now"):
        shutil.copytree(tmp_path / "made", tmp_path / name, symlinks=True)
    run(earlier, "use", tmp_path / "before")
    run(ROOT, "use", tmp_path / "now")
    before, now = labels(tmp_path / "before"), labels(tmp_path / "now")
    assert {Path(name).parts[0] for name in before} == {"single", "view", "tasks", "results"}
    assert len(set(before.values())) > 3
    assert now == before
