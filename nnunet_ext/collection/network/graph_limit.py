"""How many graphs torch.compile may keep for a collection."""

from __future__ import annotations

from collections.abc import Iterable

import torch

MODES = 4  # training, validation, prediction, and one to spare
SIZES = 2  # dynamo compiles a function for its first shape, and once more for all others


def raise_graph_limit(channels: Iterable[int], label_kinds: Iterable[tuple[int, bool, bool]]) -> None:
    """Let dynamo keep a graph of the network and of stock's Dice loss for each kind of task.

    Beyond its limit it would run all further kinds uncompiled, with only a line in the log. The limit is never lowered.

    Args:
        channels: Number of image channels of each task.
        label_kinds: Heads of each task, whether they are regions, and whether there is an ignore label.
    """
    graphs = MODES * max(len(set(channels)), SIZES * len(set(label_kinds)))
    config = torch._dynamo.config
    config.cache_size_limit = max(config.cache_size_limit, graphs)
    config.accumulated_cache_size_limit = max(config.accumulated_cache_size_limit, 4 * graphs)
