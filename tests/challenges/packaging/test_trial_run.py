"""A self-test that fails says why; ``tests/cli/challenges/test_package.py`` has one that passes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nnunet_ext.challenges.packaging import trial_run as module
from nnunet_ext.errors import UserError


def test_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    subprocess.run(["tar", "-czf", tmp_path / "model.tar.gz", "-C", tmp_path / "model", "."], check=True)
    seen: list[dict[str, Any]] = []

    def run(words: list[str], **settings: Any) -> SimpleNamespace:
        seen.append({"words": words} | settings)
        return SimpleNamespace(returncode=int("container" in str(words)), stderr="first\nimage: damaged.\n")

    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setenv("nnUNet_results", "/elsewhere")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(UserError, match=r"got 1 and 0: image: damaged\. Correct what it names"):
        module.trial_run(tmp_path)
    words, variables = seen[-1]["words"], seen[-1]["env"]
    assert words[:3] == ["unshare", "--net", "--map-root-user"] or "unshare" not in words
    assert "nnUNet_results" not in variables
    assert variables["CUDA_VISIBLE_DEVICES"] == "1"
    assert Path(variables["HOME"]).name == "home"
