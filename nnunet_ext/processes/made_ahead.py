"""The next item is made in a thread while the last one is used."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def made_ahead(
    make: Callable[[Item], Made], items: Sequence[Item], *, ahead: bool = True
) -> Generator[Callable[[], Made], None, None]:
    """Yield for each item what returns, or raises, the outcome of making something of it.

    No more than one item is made ahead. Close the generator if it is left early: its thread then ends.

    Args:
        make: What to do with an item.
        items: The items.
        ahead: Make the next one in a thread; else each is made when it is asked for.
    """
    if not ahead:
        for item in items:
            yield functools.partial(make, item)
        return
    with ThreadPoolExecutor(1) as maker:
        upcoming = [maker.submit(make, item) for item in items[:1]]
        for place in range(len(items)):
            now = upcoming.pop()
            # waits here, so that no third item is held
            now.exception()
            upcoming += [maker.submit(make, item) for item in items[place + 1 : place + 2]]
            yield now.result
