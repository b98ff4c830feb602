"""Memory of the export of overlapping structures, from the logits of 55 classes to 45 masks.

    python benchmarks/structures.py                       # all rows: about half an hour on one core
    python benchmarks/structures.py --only 126x512x512

Logits arrive in slabs of half a patch of 28 slices, as the sliding window yields them, and are resampled to the image's
size; the label map is written, and from it the image of all structures and a file for each. The memory is what each
step adds to the peak of the process, in which one slab of logits is the input. "4d array" is what all masks would take
at once, "stock" what nnU-Net's export takes for its copy of all logits in 64 bits. One thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
from nnunet_ext.challenges.segrap2023 import ORGANS
from nnunet_ext.challenges.structure_files import write_structure_files, write_structure_image
from nnunet_ext.evaluation.markdown_table import markdown_table
from nnunet_ext.files.label_file import write_label_map
from nnunet_ext.processes.process_memory import process_memory
from nnunet_ext.resampling.label_export import LabelExport

HEADS, SLAB, EDGE = 55, 14, 8  # classes; slices of a slab; voxels along an edge of a block of one class
GEOMETRY = {"spacing": (0.54, 0.54, 3.0), "origin": (0.0,) * 3, "direction": (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)}
RECORD = ChallengeRecord("segrap2023_oar", ORGANS, {}, ("CT",))
Shape = tuple[int, int, int]


class Row(NamedTuple):
    """A grid of the network and one of the image."""

    source: Shape
    target: Shape


ROWS = {
    "126x512x512": Row((42, 170, 170), (126, 512, 512)),
    "126x512x512, finer plans": Row((126, 410, 410), (126, 512, 512)),
    "126x1023x1023": Row((126, 818, 818), (126, 1023, 1023)),
}


def slabs(shape: Shape) -> Iterator[torch.Tensor]:
    """Yield logits (heads, d, H, W), float16, of blocks of random classes, in memory that is used again.

    The middle half of each axis has blocks; around is background.
    """
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, HEADS, [-(-size // EDGE) for size in shape])
    inside = [np.abs(np.arange(size) - size / 2) < size / 4 for size in shape]
    slab = torch.empty((HEADS, SLAB, *shape[1:]), dtype=torch.half)
    for start in range(0, shape[0], SLAB):
        depth = min(SLAB, shape[0] - start)
        slab.zero_()
        for place in range(start, start + depth):
            classes = coarse[place // EDGE].repeat(EDGE, 0).repeat(EDGE, 1)[: shape[1], : shape[2]]
            classes = classes * (inside[0][place] * inside[1][:, None] * inside[2])
            slab[:, place - start].scatter_(0, torch.from_numpy(classes)[None], 8.0)
        yield slab[:, :depth]


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Return GiB that a step adds to this process's memory at its peak, and its CPU seconds."""
    Path("/proc/self/clear_refs").write_text("5")  # Linux forgets the peak so far
    before, begun = process_memory(), time.process_time()
    work()
    after = process_memory()
    assert before is not None
    assert after is not None
    return (after.peak - before.now) / 2**30, time.process_time() - begun


def row_of(name: str, row: Row, folder: Path) -> list[str]:
    """Measure a row."""
    label_file = folder / "a.nii.gz"
    slab = HEADS * SLAB * row.source[1] * row.source[2] * 2 / 2**30

    def export() -> None:
        labels = np.zeros(row.target, np.uint8)
        whole = LabelExport(row.source, labels)
        for logits in slabs(row.source):
            whole.add(logits)
        whole.finish()
        write_label_map(SimpleITKIO(), labels, label_file, {"sitk_stuff": GEOMETRY})

    steps = (
        export,
        lambda: write_structure_image(label_file, folder / "a.mha", RECORD),
        lambda: write_structure_files(label_file, folder / "a", RECORD),
    )
    found = [measured(step) for step in steps]
    found[0] = (found[0][0] - slab, found[0][1])  # the input
    voxels = np.prod(row.target) / 2**30
    own = [f"{gib:.2f} ({seconds:.0f})" for gib, seconds in found]
    return [
        name,
        "x".join(map(str, row.source)),
        f"{slab:.2f}",
        *own,
        f"{45 * voxels:.1f}",
        f"{8 * HEADS * voxels:.1f}",
    ]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="name of a row")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    titles = ["image", "logits", "one slab, GiB", "label map, GiB (CPU s)", "4d image, GiB (CPU s)"]
    titles += ["files, GiB (CPU s)", "4d array, GiB", "stock, GiB"]
    rows = []
    for name, row in ROWS.items():
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(row_of(name, row, Path(folder)))
    print(markdown_table([titles, *rows]))


if __name__ == "__main__":
    main()
