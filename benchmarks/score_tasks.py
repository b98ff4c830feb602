"""Dice of single-structure predictions against the full ground truth, by groups of cases.

    python benchmarks/score_tasks.py --truth labelsTr --groups anterior.txt posterior.txt \
        --structure anterior:1=predicted/anterior:1 --structure posterior:2=predicted/posterior:1

A structure is NAME:VALUE=FOLDER:VALUE, its value in the truth and in the predictions. Only cases with a prediction are
scored; a group is a file with one case per line. The mean is over structures and cases.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel
import numpy as np

ENDING = ".nii.gz"


def dice(truth: Path, label: int, predicted: Path, value: int) -> float:
    """Return the Dice of one label in two files; NaN where neither has it, as nnU-Net."""
    one, other = (np.asarray(nibabel.load(file).dataobj) == v for file, v in ((truth, label), (predicted, value)))
    assert one.shape == other.shape, (truth, predicted)
    both = one.sum() + other.sum()
    return float(2 * (one & other).sum() / both) if both else float("nan")


def parse(word: str) -> tuple[str, int, Path, int]:
    """Return name, label in the truth, folder and label in the predictions."""
    structure, prediction = word.split("=", 1)
    (name, label), (folder, value) = structure.rsplit(":", 1), prediction.rsplit(":", 1)
    return name, int(label), Path(folder), int(value)


def main() -> None:
    """Score and print a line for each structure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--groups", type=Path, nargs="+", required=True)
    parser.add_argument("--structure", type=parse, action="append", required=True)
    arguments = parser.parse_args()
    groups = {file.stem: set(file.read_text().split()) for file in arguments.groups}
    everything = []
    for name, label, folder, value in arguments.structure:
        scores = {}
        for file in sorted(folder.glob(f"*{ENDING}")):
            scores[file.name.removesuffix(ENDING)] = dice(arguments.truth / file.name, label, file, value)
        assert scores, f"no prediction in {folder}"
        everything.append(np.nanmean(list(scores.values())))
        parts = []
        for group, cases in groups.items():
            theirs = [score for case, score in scores.items() if case in cases]
            parts.append(f"{group} {np.nanmean(theirs):.4f} ({len(theirs)})")
        print(f"{name}: {everything[-1]:.4f} over {len(scores)} cases; of the cases in {', '.join(parts)}")
    print(f"mean {np.mean(everything):.4f}")


if __name__ == "__main__":
    main()
