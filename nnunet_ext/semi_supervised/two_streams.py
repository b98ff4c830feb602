"""Batches of labelled and of unlabelled samples, in a given order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nnunet_ext.seeding.seeds import Purpose
from nnunet_ext.seeding.stepped_loader import SteppedLoader

IMAGES_ONLY = (("unlabelled", "data"),)


class TwoStreams(SteppedLoader):
    """Iterator over batches of a labelled and an unlabelled loader.

    A batch is that of the labelled loader, with its ``step``, counted from the beginning of the training, and
    ``unlabelled`` (Bu, C, D, H, W), images only: unless ``entries`` says so, nothing else leaves the unlabelled loader,
    so nothing can train on them as background.

    Args:
        labelled: Stock loader.
        unlabelled: Stock loader of unlabelled cases; None for validation, whose batches have no ``unlabelled``.
        entries: What a batch takes of the unlabelled loader's: name in the batch and there.
        options: See :class:`SteppedLoader`.
    """

    def __init__(
        self,
        labelled: Iterator[dict[str, Any]],
        unlabelled: Iterator[dict[str, Any]] | None,
        *,
        entries: tuple[tuple[str, str], ...] = IMAGES_ONLY,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.labelled = labelled
        self.unlabelled = unlabelled
        self._entries = entries

    def __next__(self) -> dict[str, Any]:
        """Return the next batch."""
        step = self._next_step()
        with self._seeded(step):
            batch = next(self.labelled) | {"step": step}
        if self.unlabelled is not None:
            with self._seeded(step, Purpose.UNLABELLED):
                drawn = next(self.unlabelled)
                batch |= {name: drawn[entry] for name, entry in self._entries}
        return batch
