"""DoDNet's dynamic head, forward and backward: batched matrix product, grouped convolution, a loop over samples.

    python benchmarks/dynamic_head.py --batch 2 --patch 64 64 64

All three compute the same; they run in turn in one process, and a ratio is the median over rounds.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional
from training_step import timed

from nnunet_ext.networks.dynamic_head import DynamicHead

Head = Callable[[Tensor, Tensor], Tensor]
WIDTH, HEADS = 8, 2
SHAPES = ((WIDTH, WIDTH), (WIDTH, WIDTH), (HEADS, WIDTH))
LENGTHS = (64, 64, 16, 8, 8, 2)


def by_grouped_convolution(features: Tensor, parameters: Tensor) -> Tensor:
    """All samples as groups of one convolution."""
    batch, size = len(features), features.shape[2:]
    parts = parameters.split(LENGTHS, 1)
    x = features.reshape(1, batch * WIDTH, *size)
    for layer, (outputs, inputs) in enumerate(SHAPES):
        kernel = parts[layer].reshape(batch * outputs, inputs, 1, 1, 1)
        x = functional.conv3d(x.relu() if layer else x, kernel, parts[3 + layer].reshape(-1), groups=batch)
    return x.reshape(batch, HEADS, *size)


def by_loop(features: Tensor, parameters: Tensor) -> Tensor:
    """One sample after the other."""
    samples = zip(features.split(1), parameters.split(1), strict=True)
    return torch.cat([by_grouped_convolution(*sample) for sample in samples])


def measure(batch: int, patch: Sequence[int], rounds: int, device: torch.device) -> None:
    """Print a line for each implementation."""
    features = torch.randn(batch, WIDTH, *patch, device=device, requires_grad=True)
    parameters = torch.randn(batch, sum(LENGTHS), device=device, requires_grad=True)
    heads: dict[str, Head] = {
        "batched matrix product (ours)": DynamicHead(HEADS, width=WIDTH),
        "grouped convolution": by_grouped_convolution,
        "loop over samples": by_loop,
    }
    expected = by_loop(features, parameters)
    seconds: dict[str, list[float]] = {name: [] for name in heads}
    for number in range(rounds + 1):
        for name, head in heads.items():

            def step(head: Head = head) -> None:
                head(features, parameters).square().mean().backward()

            if number == 0:
                torch.testing.assert_close(head(features, parameters), expected, atol=1e-3, rtol=1e-4)
                step()
            else:
                seconds[name].append(timed(step, device))
    ours = next(iter(seconds.values()))
    for name, times in seconds.items():
        ratio = statistics.median(one / other for one, other in zip(times, ours, strict=True))
        size = "x".join(map(str, patch))
        print(f"{batch} x {size}, {device}, {name:<29}: {1e3 * statistics.median(times):8.1f} ms, {ratio:5.2f} x ours")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--patch", nargs=3, type=int, default=[64, 64, 64])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    for batch in arguments.batch:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        measure(batch, arguments.patch, arguments.rounds, device)


if __name__ == "__main__":
    main()
