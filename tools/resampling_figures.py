"""Draw the figures of docs/resampling.md and docs/prediction.md: ``python tools/resampling_figures.py``."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle
from scipy.ndimage import gaussian_filter

from nnunet_ext.resampling.axis_matrix import axis_matrix
from nnunet_ext.resampling.corners import corners
from nnunet_ext.resampling.logits import labels_of_logits

IMAGES = Path(__file__).parents[1] / "docs" / "images"
CLASSES, SIZE, FACTOR = 4, 24, 5
COLOURS = ListedColormap(["#e8e8e8", "#4c78a8", "#f58518", "#54a24b"])
MIXED = "#d62728"


def cells() -> None:
    """Winners on the network's grid, the voxels that read different winners, and the label map."""
    random = np.random.default_rng(3)
    logits = np.stack([gaussian_filter(random.normal(size=(SIZE, SIZE)), 3.5) for _ in range(CLASSES)])
    logits = (40 * logits).astype(np.float16)[:, None]
    winners = logits[:, 0].argmax(0)
    target = SIZE * FACTOR
    labels = labels_of_logits(logits, (1, target, target))[0]
    lower, upper, _ = corners(axis_matrix(SIZE, target, order=1))
    read = [winners[np.ix_(rows, columns)] for rows in (lower, upper) for columns in (lower, upper)]
    mixed = np.any([other != read[0] for other in read[1:]], axis=0)

    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.9), constrained_layout=True)
    places = {"vmin": 0, "vmax": CLASSES - 1, "cmap": COLOURS, "interpolation": "nearest"}
    axes[0].imshow(winners, **places)
    axes[0].set_title("largest logit on the network's grid")
    axes[1].imshow(read[0], **places)
    axes[1].imshow(np.ma.masked_where(~mixed, mixed), cmap=ListedColormap([MIXED]), interpolation="nearest")
    axes[1].set_title(f"red: neighbours differ, {mixed.mean():.0%} of the voxels\nonly these are interpolated")
    axes[2].imshow(labels, **places)
    axes[2].set_title("label map at the image's size")
    for place in axes:
        place.set_xticks([])
        place.set_yticks([])
    figure.savefig(IMAGES / "resampling.png", dpi=110, bbox_inches="tight")
    plt.close(figure)


def slabs() -> None:
    """The rows of windows along the first axis, and which logits are in memory."""
    patch, starts, length, height = 28, (0, 14, 28, 42, 56), 84, 30
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.3), constrained_layout=True, sharey=True)
    for place, title, first in ((axes[0], "nnU-Net: logits of the whole image", 0), (axes[1], "nnunet_ext", 28)):
        place.add_patch(Rectangle((0, 0), length, height, fill=False, edgecolor="black"))
        kept = length if first == 0 else patch
        place.add_patch(Rectangle((first, 0), kept, height, color="#4c78a8", alpha=0.55, label="logits in memory"))
        if first:
            place.add_patch(Rectangle((0, 0), first, height, color="#54a24b", alpha=0.55, label="label map"))
        for row, start in enumerate(starts):
            done = start <= 28
            place.plot([start, start + patch], [height + 3 + 3 * row] * 2, "k-" if done else "k:", linewidth=2)
        place.text(length + 1, height + 3, "rows of windows\n(solid: begun)", va="bottom", fontsize=8)
        place.set_title(title)
        place.set_xlabel("slices (first axis)")
        place.set_xlim(-1, length + 24)
        place.set_ylim(-1, height + 28)
        place.set_yticks([])
        place.legend(loc="upper right", fontsize=8, ncols=2)
    figure.savefig(IMAGES / "slabs.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    cells()
    slabs()
