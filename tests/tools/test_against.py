"""``tools/against.sh``: mistakes in one line, before an environment is made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "against.sh"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "expected the path of an nnU-Net checkout or a version, got nothing."),
        (["/nowhere/nnUNet"], "/nowhere/nnUNet: expected the path of an nnU-Net checkout or a version, found no such"),
        ([str(SCRIPT.parent)], "expected a checkout of nnU-Net, found no folder nnunetv2 in it. Correct the path."),
    ],
)
def test_mistakes(arguments, text):
    done = subprocess.run(["bash", str(SCRIPT), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
