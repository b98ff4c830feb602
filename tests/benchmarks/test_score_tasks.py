"""The scores of docs/results.md's partly labelled halves: worked out by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np

FOLDER = Path(__file__).parents[2] / "benchmarks"


def write(file: Path, values: list[int]) -> None:
    file.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.array(values, np.uint8).reshape(-1, 1, 1), np.eye(4)), file)


def test_scores_by_structure_and_group(tmp_path):
    write(tmp_path / "truth" / "a.nii.gz", [1, 1, 2, 0])
    write(tmp_path / "truth" / "b.nii.gz", [1, 2, 2, 2])
    write(tmp_path / "front" / "a.nii.gz", [1, 0, 0, 0])  # 2 * 1 / 3
    write(tmp_path / "front" / "b.nii.gz", [1, 0, 0, 0])  # 1
    write(tmp_path / "back" / "a.nii.gz", [0, 0, 3, 3])  # 2 * 1 / 3
    write(tmp_path / "back" / "b.nii.gz", [3, 0, 0, 0])  # 0
    (tmp_path / "first.txt").write_text("a\nelsewhere\n")
    (tmp_path / "second.txt").write_text("b\n")
    words = ["--truth", "truth", "--groups", "first.txt", "second.txt"]
    words += ["--structure", "front:1=front:1", "--structure", "back:2=back:3"]
    command = [sys.executable, FOLDER / "score_tasks.py", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "front: 0.8333 over 2 cases; of the cases in first 0.6667 (1), second 1.0000 (1)",
        "back: 0.3333 over 2 cases; of the cases in first 0.6667 (1), second 0.0000 (1)",
        "mean 0.5833",
    ]
