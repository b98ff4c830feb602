"""The example package: its method is known, trains, and passes the conformance suite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_ext import sockets

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "my_method"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """As if it were installed by pip: its module on the path, its entry point in the metadata."""
    metadata = tmp_path / "my_method-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my_method\nVersion: 0.1\n")
    project = (EXAMPLE / "pyproject.toml").read_text()
    _, _, points = project.partition('[project.entry-points."nnunet_ext.methods"]\n')
    line = points.splitlines()[0].replace('"', "")
    (metadata / "entry_points.txt").write_text(f"[nnunet_ext.methods]\n{line}\n")
    path = os.pathsep.join([str(EXAMPLE), str(tmp_path), os.environ.get("PYTHONPATH", "")])
    folders = os.pathsep.join([str(sockets.folder("trainers")), str(EXAMPLE / "trainers")])
    return os.environ | {"PYTHONPATH": path, sockets.VARIABLE: folders, "NNUNET_EXT_CONFORMANCE": "SmoothTrainer"}


def run(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run([sys.executable, *words], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_it_is_short() -> None:
    assert len((EXAMPLE / "my_method.py").read_text().splitlines()) <= 60


def test_info_and_knobs_know_it_without_importing_its_trainer(environment: dict[str, str]) -> None:
    known = json.loads(run(environment, "-m", "nnunet_ext.cli.main", "info", "--json"))["methods"]["smooth"]
    assert known["trainers"] == ["SmoothTrainer"]
    code = "from nnunet_ext.base.knobs import parse; print(parse(['smooth.weight=0.5']))"
    assert "{'smooth': {'weight': 0.5}" in run(environment, "-c", code)
    wrong = "from nnunet_ext.base.knobs import parse; parse(['smooth.wait=0.5'])"
    done = subprocess.run([sys.executable, "-c", wrong], env=environment, capture_output=True, text=True)
    assert "unknown knob 'smooth.wait'. Did you mean 'weight'?" in done.stderr


def test_doctor_names_it(environment: dict[str, str], tmp_path: Path) -> None:
    code = "from nnunet_ext.cli.setup.doctor_checks import check_methods; print(check_methods())"
    assert run(environment, "-c", code).split() == ["ok", "other", "methods", "smooth"]
    (tmp_path / "my_method-0.1.dist-info" / "entry_points.txt").write_text("[nnunet_ext.methods]\nsmooth = gone:CARD\n")
    assert "entry point 'smooth' of nnunet_ext.methods (gone:CARD): expected a card, got ModuleNotFoundError" in run(
        environment, "-c", code
    )


@pytest.mark.slow
def test_conformance(environment: dict[str, str]) -> None:
    """The rows of the contract; all rows run with the command in its README."""
    rows = "test_contract"
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/conformance", "-k", f"SmoothTrainer and {rows}"]
    told = run(environment, *words, "-m", "(slow or not slow) and not matrix")
    assert " passed" in told
    assert "failed" not in told
