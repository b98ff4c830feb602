"""A process group of which only one process is real."""

import contextlib
from collections.abc import Iterator

from torch import distributed
from torch.testing._internal.distributed.fake_pg import FakeStore


@contextlib.contextmanager
def process_group(rank: int, world_size: int) -> Iterator[None]:
    """Be one of several ranks for a while; barriers pass at once, and nothing is exchanged."""
    distributed.init_process_group("fake", rank=rank, world_size=world_size, store=FakeStore())
    try:
        yield
    finally:
        distributed.destroy_process_group()
