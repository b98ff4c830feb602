"""Without the extra, one line says what to install, and nothing else of the package needs it."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import nnunet_ext
from nnunet_ext.dicom.extra import PACKAGES, require_dicom
from nnunet_ext.errors import UserError

ROOT = Path(nnunet_ext.__file__).parent
WITHOUT = """
import sys
sys.modules["pydicom"] = sys.modules["highdicom"] = None  # importing one raises ImportError
import nnunet_ext.cli.main, nnunet_ext.dicom.extra
"""


def test_with_the_extra():
    require_dicom("--dicom")


@pytest.mark.parametrize(
    ("missing", "found", "install"),
    [
        (["pydicom", "highdicom"], "pydicom and no highdicom", "pydicom highdicom"),
        (["highdicom"], "highdicom", "highdicom"),
    ],
)
def test_without_it(monkeypatch, missing, found, install):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else find(name))
    with pytest.raises(UserError) as caught:
        require_dicom("--dicom")
    assert str(caught.value) == (
        f"--dicom: expected the packages pydicom and highdicom, found no {found}. Run pip install 'nnunet_ext[dicom]', "
        f"or pip install {install}."
    )


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names & set(PACKAGES)


def test_only_this_folder_imports_them():
    wrong = {file for file in ROOT.rglob("*.py") if imported(file) and file.parent != ROOT / "dicom"}
    assert wrong == set()
    assert imported(ROOT / "dicom" / "series.py") == set(PACKAGES)
    assert imported(ROOT / "dicom" / "extra.py") == imported(ROOT / "dicom" / "__init__.py") == set()


def test_the_commands_start_without_them():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
