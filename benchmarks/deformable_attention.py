"""Deformable attention's cost against the number of voxels: forward and backward of one encoder layer, in one process.

    python benchmarks/deformable_attention.py --plot docs/images/deformable_attention.png

Volumes double in size; all sizes are timed in turn and the fastest of ``--rounds`` counts, so that neither the order
nor other load on the machine matters. Dense self-attention among the same tokens (PyTorch's own) is timed for
comparison on the smaller volumes: its cost grows quadratically.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from training_step import timed

from nnunet_ext.networks.deformable_encoder import DeformableEncoder

CHANNELS, HEADS, POINTS = 48, 3, 4
MOST_TOKENS_DENSE = 2_500
FITTED = 6  # volumes, the largest
DEFORMABLE, DENSE = "deformable", "dense"


def volumes(doublings: int) -> list[tuple[int, int, int]]:
    """Return sizes (D, H, W) of the finer level from 4x8x8, each with twice as many voxels."""
    sizes = [(4, 8, 8)]
    for step in range(doublings):
        sizes.append(tuple(2 * length if axis == step % 3 else length for axis, length in enumerate(sizes[-1])))
    return sizes


def features_of(size: tuple[int, ...], device: torch.device) -> list[Tensor]:
    """Return two levels, the second of half the size."""
    halves = tuple(length // 2 for length in size)
    return [torch.randn(1, CHANNELS, *level, device=device, requires_grad=True) for level in (size, halves)]


def deformable_step(size: tuple[int, ...], device: torch.device) -> Callable[[], None]:
    """Return forward and backward of one deformable layer."""
    options = {"layers": 1, "levels": 2, "heads": HEADS, "points": POINTS, "hidden": 4 * CHANNELS}
    encoder, features = DeformableEncoder(CHANNELS, **options).to(device), features_of(size, device)

    def step() -> None:
        sum(level.sum() for level in encoder(features)).backward()

    return step


def dense_step(size: tuple[int, ...], device: torch.device) -> Callable[[], None]:
    """Return forward and backward of one layer of dense attention among the same tokens."""
    layer = nn.TransformerEncoderLayer(CHANNELS, HEADS, 4 * CHANNELS, activation="gelu", batch_first=True).to(device)
    tokens = torch.cat([level.detach().flatten(2).transpose(1, 2) for level in features_of(size, device)], 1)
    tokens.requires_grad_()

    def step() -> None:
        layer(tokens).sum().backward()

    return step


def measure(sizes: list[tuple[int, int, int]], rounds: int, device: torch.device) -> dict[str, dict[int, float]]:
    """Return the fastest seconds for each number of tokens."""
    steps = {}
    for size in sizes:
        tokens = sum(level[0, 0].numel() for level in features_of(size, device))
        steps[DEFORMABLE, tokens] = deformable_step(size, device)
        if tokens <= MOST_TOKENS_DENSE:
            steps[DENSE, tokens] = dense_step(size, device)
    seconds = dict.fromkeys(steps, float("inf"))
    for measured in range(rounds + 1):
        for key, step in steps.items():
            taken = timed(step, device)
            if measured:  # the first warms up
                seconds[key] = min(seconds[key], taken)
    return {kind: {n: s for (of, n), s in seconds.items() if of == kind} for kind in (DEFORMABLE, DENSE)}


def exponent(times: dict[int, float], last: int = FITTED) -> float:
    """Return k of time ~ tokens^k over the largest volumes."""
    counts = sorted(times)[-last:]
    return float(np.polyfit(np.log(counts), np.log([times[count] for count in counts]), 1)[0])


def draw(times: dict[str, dict[int, float]], file: Path) -> None:
    """Draw time against tokens on logarithmic axes, with a straight line of slope 1."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for kind, marker in ((DEFORMABLE, "o"), (DENSE, "s")):
        counts = sorted(times[kind])
        label = f"{kind}: tokens$^{{{exponent(times[kind]):.2f}}}$"
        axes.loglog(counts, [1e3 * times[kind][count] for count in counts], marker=marker, label=label)
    counts = sorted(times[DEFORMABLE])
    per_token = 1e3 * times[DEFORMABLE][counts[-1]] / counts[-1]
    axes.loglog(counts, [per_token * count for count in counts], "k:", label="proportional to tokens")
    axes.set_xlabel("tokens (voxels of both levels)")
    axes.set_ylabel("ms, forward and backward of a layer")
    axes.legend()
    figure.savefig(file, dpi=110)


def main() -> None:
    """Measure, print a table and the exponents, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--doublings", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    times = measure(volumes(arguments.doublings), arguments.rounds, device)
    print(f"\n| tokens | deformable ms | us a token | dense ms |\n|{'-' * 7}:|{'-' * 14}:|{'-' * 11}:|{'-' * 9}:|")
    for tokens, seconds in times[DEFORMABLE].items():
        dense = f"{1e3 * times[DENSE][tokens]:8.2f}" if tokens in times[DENSE] else " " * 8
        print(f"| {tokens:6d} | {1e3 * seconds:13.2f} | {1e6 * seconds / tokens:10.1f} | {dense} |")
    growth = ", ".join(f"{kind} tokens^{exponent(times[kind]):.2f}" for kind in times)
    print(f"{device}, {torch.get_num_threads()} threads; the largest {FITTED} volumes: {growth}")
    if arguments.plot:
        draw(times, arguments.plot)


if __name__ == "__main__":
    main()
