"""Boundary targets: against a scikit-image erosion per class, and as a share of BA-Net's training step.

python benchmarks/boundary_target.py
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import torch
from skimage.morphology import erosion, footprint_rectangle
from training_step import make_batch, make_plans, make_trainer, scratch_folders, timed

from nnunet_ext.methods.ba_net.loss import boundary_target


def by_erosion(labels: np.ndarray) -> np.ndarray:
    """Return the definition: the union over classes of {label > lower} minus its erosion; (B, D, H, W)."""
    union = np.zeros(labels.shape, bool)
    for index, sample in enumerate(labels):
        for lower in np.unique(sample)[:-1]:
            mask = sample > lower
            union[index] |= mask & ~erosion(mask, footprint_rectangle((3, 3, 3)))
    return union


def against_erosion(pairs: int, device: torch.device) -> None:
    """Print the time for 2 x 96x128x128 voxels, 3 classes, against the definition by scikit-image on the CPU."""
    coarse = torch.randint(0, 3, (2, 1, 12, 16, 16)).float()
    labels = torch.nn.functional.interpolate(coarse, size=(96, 128, 128)).to(torch.uint8)
    array = labels[:, 0].numpy()
    assert np.array_equal(boundary_target(labels)[:, 0].bool().numpy(), by_erosion(array))
    on_device = labels.to(device)
    ours = statistics.median([timed(lambda: boundary_target(on_device), device) for _ in range(pairs + 1)][1:])
    theirs = statistics.median(timed(lambda: by_erosion(array), torch.device("cpu")) for _ in range(max(3, pairs // 3)))
    print(
        f"2 x 96x128x128, 3 classes, {device}: {1e3 * ours:.2f} ms; scikit-image erosion per class on CPU "
        f"{1e3 * theirs:.1f} ms: {theirs / ours:.0f} x"
    )


def share_of_step(features: int, convolutions: int, pairs: int, device: torch.device) -> None:
    """Print the share of a training step on 2 x 40x56x40 voxels that is spent on making the targets of all scales."""
    plans = make_plans([40, 56, 40], features, convolutions, batch=2)
    batch = make_batch(plans)
    with scratch_folders():
        trainer = make_trainer("BANetTrainer", plans, device)
    boundary = trainer.loss.boundary
    weighted = zip(batch["target"], boundary.weight_factors, strict=True)
    scales = [target.to(device) for target, weight in weighted if weight]
    trainer.train_step(batch)
    steps, targets = [], []
    for _ in range(pairs):
        steps.append(timed(lambda: trainer.train_step(batch), device))
        targets.append(timed(lambda: [boundary.loss.target(scale) for scale in scales], device))
    share = statistics.median(target / step for target, step in zip(targets, steps, strict=True))
    print(
        f"step on 2 x 40x56x40, {features} features: {1e3 * statistics.median(steps):.1f} ms, targets of all scales "
        f"{1e3 * statistics.median(targets):.2f} ms: {100 * share:.2f} % of the step"
    )


def main() -> None:
    """Measure and print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    pairs = parser.parse_args().pairs
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    against_erosion(pairs, device)
    share_of_step(32, 2, pairs, device)
    share_of_step(8, 1, pairs, device)


if __name__ == "__main__":
    main()
