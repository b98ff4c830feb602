"""Boundary targets: against a scikit-image erosion per class, and as a share of BA-Net's training step.

    python benchmarks/boundary_target.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from skimage.morphology import erosion, footprint_rectangle
from training_step import make_batch, make_plans, make_trainer, timed

from nnunet_ext.ba_net.loss import boundary_target


def by_erosion(labels: np.ndarray) -> np.ndarray:
    """The definition: {label > lower} minus its erosion for each class, united; (B, D, H, W)."""
    union = np.zeros(labels.shape, bool)
    for index, sample in enumerate(labels):
        for lower in np.unique(sample)[:-1]:
            mask = sample > lower
            union[index] |= mask & ~erosion(mask, footprint_rectangle((3, 3, 3)))
    return union


def main() -> None:
    """Measure and print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    pairs = parser.parse_args().pairs
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cpu = torch.device("cpu")
    torch.manual_seed(0)

    coarse = torch.randint(0, 3, (2, 1, 12, 16, 16)).float()
    labels = torch.nn.functional.interpolate(coarse, size=(96, 128, 128)).to(torch.uint8)
    array = labels[:, 0].numpy()
    assert np.array_equal(boundary_target(labels)[:, 0].bool().numpy(), by_erosion(array))
    on_device = labels.to(device)
    ours = [timed(lambda: boundary_target(on_device), device) for _ in range(pairs + 1)][1:]
    theirs = [timed(lambda: by_erosion(array), cpu) for _ in range(max(3, pairs // 3))]
    print(f"2 x 96x128x128, 3 classes, {device}: {1e3 * statistics.median(ours):.2f} ms; scikit-image erosion per class "
          f"on CPU {1e3 * statistics.median(theirs):.1f} ms: {statistics.median(theirs) / statistics.median(ours):.0f} x")

    for title, features, convolutions in (("default width", 32, 2), ("Lite width", 8, 1)):
        plans = make_plans([40, 56, 40], features, convolutions, batch=2)
        batch = make_batch(plans)
        with tempfile.TemporaryDirectory() as scratch:
            for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
                os.environ[name] = f"{scratch}/{name}"
            data = Path(scratch, "nnUNet_preprocessed", "Dataset001_Benchmark", "data")
            data.mkdir(parents=True)
            (data / "case.b2nd").touch()
            trainer = make_trainer("BANetTrainer", plans, device)
            boundary = trainer.loss.boundary
            scales = [target.to(device) for target, weight in zip(batch["target"], boundary.weight_factors, strict=True)
                      if weight]
            trainer.train_step(batch)
            step, target = [], []
            for _ in range(pairs):
                step.append(timed(lambda: trainer.train_step(batch), device))
                target.append(timed(lambda: [boundary.loss.target(scale) for scale in scales], device))
            print(f"step on 2 x 40x56x40, {title}: {1e3 * statistics.median(step):.1f} ms, targets of all scales "
                  f"{1e3 * statistics.median(target):.2f} ms: "
                  f"{100 * statistics.median(t / s for t, s in zip(target, step, strict=True)):.2f} % of the step")


if __name__ == "__main__":
    main()
