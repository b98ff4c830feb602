"""What a training step keeps for its backward pass on a GPU, measured without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

CASES = 2


def kept_for_backward(
    build: Callable[[], nn.Module],
    patch: Sequence[int],
    loss: Callable[[Any], Tensor],
    *,
    images: Callable[[Tensor], Any] = lambda images: images,
    channels: int = 1,
) -> float:
    """Return the bytes that a step in mixed precision holds for one more sample when its backward pass begins.

    That is what the graph saved, the network's input and its output. Tensors are fake, of a CUDA device: they have
    shapes, types and storages, and no memory. Each storage counts once, parameters and their copies do not.

    Args:
        build: Makes the network.
        patch: Voxels (D, H, W) or (H, W).
        loss: Of what the network returns in train mode.
        images: Makes the network's input of images (B, C, D, H, W).
        channels: Of the images.
    """
    with FakeTensorMode(), torch.device("cuda"):
        network = build().train()
        kept = []
        for batch in (CASES, 2 * CASES):
            with _mixed_precision(), _storages() as storages:
                given = images(torch.empty(batch, channels, *patch))
                returned = network(given)
                loss(returned)
            sizes = storages | {id_: size for held in (given, returned) for id_, size in _sizes(held)}
            kept.append(sum(sizes.values()))
    return (kept[1] - kept[0]) / CASES


@contextmanager
def _mixed_precision() -> Iterator[None]:
    """``torch.autocast("cuda")``, which does nothing on a machine without CUDA."""
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.float16)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.clear_autocast_cache()


@contextmanager
def _storages() -> Iterator[dict[int, int]]:
    """Yield the sizes in bytes of all storages that are saved for backward, filled within the context."""
    alive: list[Any] = []  # else a freed storage's number is given again
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        alive.append(tensor.untyped_storage())
        sizes.update(_sizes(tensor))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def _sizes(held: Any) -> Iterator[tuple[int, int]]:
    """Yield (number, bytes) of the storages of all tensors in nested lists and tuples."""
    if isinstance(held, Tensor):
        storage = held.untyped_storage()
        yield storage._cdata, storage.nbytes()
    elif isinstance(held, list | tuple):
        for each in held:
            yield from _sizes(each)
