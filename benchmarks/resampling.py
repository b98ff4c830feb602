"""Resampling of images and label maps, and label export, against nnU-Net's functions: time, memory, differences.

    python benchmarks/resampling.py --pairs 3

One thread. Both sides run in turn in one process; CPU seconds are medians over pairs, after a pair that warms up. The
memory is what a side adds to the peak of a process of its own. Images hold noise, whose splines overshoot everywhere;
label maps and logits hold balls, logits of the last row hold smooth fields of all classes. "mixed" is the share of
voxels whose neighbours on the network's grid do not have the same label.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg, resample_data_or_seg_to_shape
from scipy.ndimage import zoom

from nnunet_ext.evaluation.markdown_table import markdown_table
from nnunet_ext.resampling.axis_matrix import axis_matrix
from nnunet_ext.resampling.corners import corners
from nnunet_ext.resampling.images import resample_images
from nnunet_ext.resampling.label_maps import resample_label_maps
from nnunet_ext.resampling.logits import labels_of_logits

Shape = tuple[int, int, int]
PRELOADED = ["nnunetv2.preprocessing.resampling.default_resampling", "nnunet_ext.resampling.logits"]  # slow to import
SMALL = 8  # each axis is divided by it


class Case(NamedTuple):
    """A row of the table."""

    kind: str  # "image", "labels", "classes" or "regions"
    source: Shape
    target: Shape
    channels: int = 1  # labels or heads
    separate_axis: int | None = None
    foam: bool = False

    def small(self) -> Case:
        """Return the same with less to do."""
        source, target = (tuple(max(2, size // SMALL) for size in each) for each in (self.source, self.target))
        return self._replace(source=source, target=target, channels=min(self.channels, 15))


SCAN, ISOTROPIC, THICK = (160, 512, 512), (200, 341, 341), (40, 512, 512)
GRID, FULL = (80, 120, 120), (128, 220, 220)
CASES = {
    "image, 0.8x0.8x1.5 mm to 1.2 mm": Case("image", SCAN, ISOTROPIC),
    "image, 1.2 mm to 0.8x0.8x1.5 mm": Case("image", ISOTROPIC, SCAN),
    "image, thick slices, in-plane": Case("image", THICK, (40, 320, 320), separate_axis=0),
    "image, thick slices, all axes": Case("image", THICK, (60, 320, 320), separate_axis=0),
    "label map, 4 labels": Case("labels", GRID, FULL, 4),
    "export, 15 classes": Case("classes", GRID, FULL, 15),
    "export, 55 classes": Case("classes", GRID, FULL, 55),
    "export, 118 classes": Case("classes", GRID, FULL, 118),
    "export, 45 regions": Case("regions", GRID, FULL, 45),
    "export, 55 classes, surfaces everywhere": Case("classes", GRID, FULL, 55, foam=True),
}


def organs(shape: Shape, heads: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield logits of balls with a radius of 6 to 12 voxels in a background, head by head; (D, H, W), float16.

    Head 0 is the background. The noise moves the surfaces by a tenth of a voxel.
    """
    yield (0.1 * rng.normal(size=shape)).astype(np.float16)
    places = np.indices(shape, np.float32)
    for _ in range(1, heads):
        centre, radius = rng.uniform(0, shape).astype(np.float32), rng.uniform(6, 12)
        distance = np.sqrt(sum((place - middle) ** 2 for place, middle in zip(places, centre, strict=True)))
        yield (np.maximum(radius - distance, -8) + 0.1 * rng.normal(size=shape)).astype(np.float16)


def foam(shape: Shape, heads: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield logits of which each has large values somewhere, so that surfaces are everywhere: the hardest case."""
    coarse = [max(2, size // 10) for size in shape]
    factors = [size / few for size, few in zip(shape, coarse, strict=True)]
    for head in range(heads):
        field = zoom(rng.normal(size=coarse), factors, order=3, mode="nearest", grid_mode=True)
        yield (6 * field + 9 * (head == 0) + 0.1 * rng.normal(size=shape)).astype(np.float16)


def mixed_share(case: Case, data: np.ndarray) -> str:
    """Return the share of voxels whose neighbours on the grid do not agree, which have to be interpolated."""
    if case.kind == "image":
        return ""
    winners = data[0] if case.kind == "labels" else data.argmax(0)
    if case.kind == "regions":
        winners = (len(data) - (data[::-1] > 0).argmax(0)) * (data > 0).any(0)
    axes = [corners(axis_matrix(*sizes, 1))[:2] for sizes in zip(case.source, case.target, strict=True)]
    read = [winners[np.ix_(*places)] for places in itertools.product(*axes)]
    return f"{np.any([other != read[0] for other in read[1:]], axis=0).mean():.1%}"


def data_of(case: Case) -> np.ndarray:
    """Return what both sides get: (C, D, H, W)."""
    rng = np.random.default_rng(0)
    if case.kind == "image":
        return rng.normal(size=(1, *case.source)).astype(np.float32)
    if case.kind == "regions":
        return np.stack(list(organs(case.source, case.channels + 1, rng)))[1:]
    logits = np.stack(list((foam if case.foam else organs)(case.source, case.channels, rng)))
    return logits if case.kind == "classes" else logits.argmax(0).astype(np.int8)[None]


def ours(case: Case, data: np.ndarray) -> np.ndarray:
    """Return the result of this package."""
    if case.kind == "image":
        return resample_images(data, case.target, separate_axis=case.separate_axis)
    if case.kind == "labels":
        return resample_label_maps(data, case.target)
    regions = range(1, case.channels + 1) if case.kind == "regions" else None
    return labels_of_logits(data, case.target, region_labels=regions)


def stock(case: Case, data: np.ndarray) -> np.ndarray:
    """Return the result of nnU-Net."""
    if case.kind in ("image", "labels"):
        order, axis = (1 if case.kind == "labels" else 3), case.separate_axis
        return resample_data_or_seg(data, case.target, case.kind == "labels", axis, order, axis is not None)
    return painted(case, stock_logits(case, data))


def stock_logits(case: Case, data: np.ndarray) -> np.ndarray:
    """Return the logits that nnU-Net makes labels of: (heads, D, H, W), float16."""
    return resample_data_or_seg_to_shape(data, case.target, (1, 1, 1), (1, 1, 1), order=1, force_separate_z=False)


def painted(case: Case, logits: np.ndarray) -> np.ndarray:
    """Return labels as nnU-Net's label manager makes them of logits."""
    tensor = torch.from_numpy(logits)
    if case.kind == "classes":
        return tensor.argmax(0).numpy()
    labels = np.zeros(case.target, np.uint8)
    for label, region in enumerate(tensor, 1):
        labels[torch.sigmoid(region.float()).numpy() > 0.5] = label
    return labels


SIDES: dict[str, Callable[[Case, np.ndarray], np.ndarray]] = {"stock": stock, "ours": ours}


def difference(case: Case, data: np.ndarray, results: dict[str, np.ndarray]) -> str:
    """Return how far the results are from each other; refuse labels that rounding does not explain."""
    one, other = results["stock"], results["ours"]
    if case.kind == "image":
        return f"{np.abs(one - other).max() / np.ptp(data):.1e}"
    places = np.nonzero(one != other)
    if case.kind in ("classes", "regions") and len(places[0]):
        check_near(case, stock_logits(case, data)[(slice(None), *places)], one[places], other[places])
    return f"{len(places[0])} voxels"


def check_near(case: Case, logits: np.ndarray, one: np.ndarray, other: np.ndarray) -> None:
    """Assert that the logits (heads, N) that decide between two labels (N) are within a step of float16."""
    each = np.arange(len(one))
    if case.kind == "classes":
        pair = logits[one, each], logits[other, each]
    else:  # the region with the larger label is painted by one side only: its sigmoid is 0.5 but for rounding
        pair = logits[np.maximum(one, other) - 1, each], np.zeros(len(one), np.float16)
    step = np.spacing(np.maximum(*np.abs(pair))).astype(float)
    apart = np.abs(pair[0].astype(float) - pair[1].astype(float))
    allowed = step if case.kind == "classes" else np.maximum(step, 2.0**-10)
    assert (apart <= allowed).all(), f"logits of different labels are {apart.max()} apart"


def seconds_of(case: Case, pairs: int) -> tuple[dict[str, float], str]:
    """Return median CPU seconds of both sides, and how far their results are from each other."""
    data, taken = data_of(case), {side: [] for side in SIDES}
    results = {}
    for _ in range(pairs + 1):
        for side, work in SIDES.items():
            begun = time.process_time()
            results[side] = work(case, data)
            taken[side].append(time.process_time() - begun)
    medians = {side: statistics.median(values[1:]) for side, values in taken.items()}
    return medians, difference(case, data, results)


def memory_of(side: str, case: Case, answer: Any) -> None:
    """Send the bytes that a side adds to the peak of this process, its result included."""
    torch.set_num_threads(1)
    data = data_of(case)
    SIDES[side](case.small(), data_of(case.small()))  # whatever is imported and cached on the first call
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # Linux forgets the peak so far
    before = bytes_of("VmRSS")
    SIDES[side](case, data)
    answer.send(bytes_of("VmHWM") - before)


def bytes_of(field: str) -> int:
    """Return what Linux reports of this process: VmRSS is its memory, VmHWM the peak of that."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{field}:"))


def peak_of(side: str, case: Case) -> float:
    """Return GiB, measured in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=memory_of, args=(side, case, sender))
    process.start()
    sender.close()
    taken = receiver.recv()
    process.join()
    return float(taken) / 2**30


def row_of(name: str, case: Case, pairs: int) -> list[str]:
    """Measure a case."""
    seconds, differs = seconds_of(case, pairs)
    peaks = [f"{peak_of(side, case):.2f}" for side in SIDES]
    sizes = " -> ".join("x".join(map(str, each)) for each in (case.source, case.target))
    ratio = seconds["stock"] / seconds["ours"]
    mixed = mixed_share(case, data_of(case))
    return [name, sizes, mixed, f"{seconds['stock']:.3f}", f"{seconds['ours']:.3f}", f"{ratio:.1f}", differs, *peaks]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--small", action="store_true", help="an 8th of each axis, and at most 15 heads")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    titles = (
        "row",
        "shape",
        "mixed",
        "stock, CPU s",
        "ours, CPU s",
        "ratio",
        "largest difference",
        "stock, GiB",
        "ours, GiB",
    )
    rows = [
        row_of(name, case.small() if arguments.small else case, arguments.pairs)
        for name, case in CASES.items()
        if arguments.only in name
    ]
    print(markdown_table([titles, *rows]))
    print(f"\nload of the machine at the end (1, 5, 15 minutes): {os.getloadavg()}")


if __name__ == "__main__":
    main()
