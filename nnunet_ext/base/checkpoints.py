"""Crash-safe checkpoints: atomic writing, and resuming from the newest intact file."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnunet_ext.errors import UserError, is_write_error, one_line
from nnunet_ext.foreign.checkpoint import read_foreign_checkpoint
from nnunet_ext.foreign.class_names import check_class_names
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.processes.run_lock import release_lock, take_lock

logger = logging.getLogger(__name__)

# if two are equally new, the earlier name wins: best knows its own score, latest of the same epoch does not
RESUMABLE = ("checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth")
MIRRORING = "inference_allowed_mirroring_axes"
EXTRA = "nnunet_ext"  # key of what a trainer adds to nnU-Net's checkpoint


def read_checkpoint(file: str | Path, trust: bool = False) -> dict[str, Any]:
    """Map a checkpoint into memory (CPU; tensors are read when touched), without running code of it.

    Args:
        file: The file.
        trust: Unpickle everything that it asks for, which may run code. To resume a training that wrote the file: a
            method of another package may keep any object there.

    Raises:
        UserError: The file is missing, truncated or not a checkpoint, or asks for what may run code.
    """
    checkpoint = read_foreign_checkpoint(file, trust=trust)
    if not isinstance(checkpoint, dict) or "network_weights" not in checkpoint:
        raise UserError(f"{file}: expected an nnU-Net checkpoint with 'network_weights', found none.")
    return checkpoint


def read_trained(file: Path, *more: str, trust: bool = False) -> dict[str, Any]:
    """Like :func:`read_checkpoint`, for a checkpoint of a training: with all that is needed to rebuild its network.

    Args:
        file: The checkpoint.
        *more: Further keys that it must have.
        trust: As there.

    Raises:
        UserError: The file is not such a checkpoint, or its plans name what may run code.
    """
    found = read_checkpoint(file, trust)
    if missing := [key for key in ("init_args", "trainer_name", *more) if key not in found]:
        raise UserError(
            f"{file}: expected a checkpoint of a training, found one without {missing[0]!r}. Choose another with -chk."
        )
    for part, expected, fits in _EXPECTED:
        if not fits(found):
            raise UserError(
                f"{file}: expected {expected} for {part!r} of the checkpoint, found another value. Restore the "
                f"file, or choose another."
            )
    if not trust:
        check_class_names(found["init_args"].get("plans", {}), file)
    return found


def _is_weights(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(tensor, Tensor) for tensor in value.values())


def _is_axes(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple) and all(isinstance(axis, int) for axis in value))


_EXPECTED: tuple[tuple[str, str, Callable[[dict[str, Any]], bool]], ...] = (
    ("trainer_name", "text", lambda content: isinstance(content["trainer_name"], str)),
    ("init_args", "the trainer's arguments by name", lambda content: isinstance(content["init_args"], dict)),
    ("configuration", "text", lambda content: isinstance(content["init_args"].get("configuration"), str)),
    ("plans", "plans", lambda content: isinstance(content["init_args"].get("plans", {}), dict)),
    ("network_weights", "tensors by name", lambda content: _is_weights(content["network_weights"])),
    (MIRRORING, "axes or None", lambda content: _is_axes(content.get(MIRRORING))),
)


def whole_checkpoints(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield a fold's readable checkpoints, from which training may resume."""
    for name in RESUMABLE:
        if (folder / name).is_file():
            try:
                yield folder / name, read_checkpoint(folder / name, trust=True)
            except UserError as error:
                logger.warning("%s It is skipped.", error)


class SafeCheckpoints:
    """Mix-in for trainers, left of ``nnUNetTrainer``.

    * A checkpoint is written to a temporary file and then renamed, so that a kill at any instant, or a full disk,
      leaves the older file intact.
    * ``--c`` resumes from the newest intact checkpoint, whether that is final, latest or best. A truncated one is
      reported and skipped.
    * What a trainer keeps besides network and optimizer (:meth:`extra_state`) is saved in it.
    """

    continue_training: bool
    output_folder: str
    disable_checkpointing: bool

    def save_checkpoint(self, filename: str) -> None:
        """Write a checkpoint atomically; with several ranks, the first one writes.

        Raises:
            UserError: The file could not be written; older checkpoints are untouched.
        """
        if not Ranks.now().is_first:  # stock code checks the local rank, which is 0 once on each node
            return
        partial = Path(f"{filename}.partial")
        try:
            self._write(partial)
            if not self.disable_checkpointing:
                with partial.open("rb+") as file:
                    os.fsync(file.fileno())
                partial.replace(filename)
        except (OSError, RuntimeError) as error:
            if not is_write_error(error):
                raise
            raise UserError(
                f"{filename}: expected to write a checkpoint, got {one_line(error)!r}. Older checkpoints are intact: "
                f"free space or correct the folder's permissions, then resume with --c."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def _write(self, file: Path) -> None:
        """Write nnU-Net's checkpoint and the trainer's own entries to disk, only once."""
        entries = {} if self.disable_checkpointing else self.further_entries()
        if not entries:
            super().save_checkpoint(str(file))  # type: ignore[misc]
            return
        stock = io.BytesIO()
        super().save_checkpoint(stock)  # type: ignore[misc]
        stock.seek(0)
        checkpoint = torch.load(stock, map_location="cpu", weights_only=False)
        torch.save(checkpoint | entries, file)

    def load_checkpoint(
        self,
        filename_or_checkpoint: str | Path | dict[str, Any] | None = None,
        *,
        checkpoint: str | Path | dict[str, Any] | None = None,
    ) -> None:
        """Load a checkpoint; when continuing (``--c``), the newest whole one in the fold's folder.

        Args:
            filename_or_checkpoint: A file, or its content (nnU-Net 2.8 promises to take that, but fails).
            checkpoint: The same, under the name that later versions of nnU-Net use.

        Raises:
            UserError: No intact checkpoint, or :meth:`check_checkpoint` refuses it.
        """
        given = checkpoint if filename_or_checkpoint is None else filename_or_checkpoint
        if isinstance(given, dict):
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                file = Path(folder) / "checkpoint.pth"
                torch.save(given, file)
                self._load_file(file, told="the checkpoint given")
        elif given is None:
            raise TypeError(f"{type(self).__name__}.load_checkpoint: expected a checkpoint, got none")
        elif Path(given).parent == Path(self.output_folder):
            self.lock_fold()
            self._load_file(self._newest_whole_checkpoint() if self.continue_training else Path(given))
        else:
            self._load_file(Path(given))

    def _load_file(self, file: Path, told: str | None = None) -> None:
        content = read_checkpoint(file, trust=True)
        self.check_checkpoint(content, told or str(file))
        super().load_checkpoint(str(file))  # type: ignore[misc]
        self.load_extra_state(content.get(EXTRA, {}))

    def lock_fold(self) -> None:
        """Let no other process train in the fold's folder; with several ranks, the first one takes the lock.

        Raises:
            UserError: Another process does.
        """
        if Ranks.now().is_first:
            Path(self.output_folder).mkdir(parents=True, exist_ok=True)  # that of a view that could not be written
            take_lock(Path(self.output_folder), "training", say=self.print_to_log_file)  # type: ignore[attr-defined]

    @contextlib.contextmanager
    def fold_locked(self) -> Iterator[None]:
        """``with self.fold_locked():`` :meth:`lock_fold`; afterwards the folder is free."""
        folder = Path(self.output_folder)
        self.lock_fold()
        try:
            yield
        finally:
            release_lock(folder)

    def further_entries(self) -> dict[str, Any]:
        """Return entries of the checkpoint that are added to nnU-Net's, or replace them; called on rank 0 only."""
        extra = self.extra_state()
        return {EXTRA: extra} if extra else {}

    def extra_state(self) -> dict[str, Any]:
        """Return extra state to save in the checkpoint, by default none; called on rank 0 only."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`extra_state` returned; network and optimizer are already loaded.

        Args:
            state: On the CPU; empty if the checkpoint has none, because an older version wrote it.
        """

    def check_checkpoint(self, checkpoint: dict[str, Any], filename: str) -> None:
        """Refuse a checkpoint that another trainer wrote.

        Raises:
            UserError: The checkpoint names another trainer.
        """
        expected, found = type(self).__name__, checkpoint.get("trainer_name")
        if found != expected:
            raise UserError(
                f"{filename}: expected a checkpoint of {expected}, found one of {found}. To start from its weights, "
                f"set the knob init_from to this file."
            )

    def _newest_whole_checkpoint(self) -> Path:
        """Newest by the time that nnU-Net logged at the end of the last epoch: epochs and file times can mislead."""
        whole: list[tuple[float, Path]] = []
        for name in RESUMABLE:
            file = Path(self.output_folder) / name
            if not file.is_file():
                continue
            try:
                log = read_checkpoint(file, trust=True)["logging"]
                whole.append((max(log["epoch_end_timestamps"], default=0), file))
            except UserError as error:
                self.print_to_log_file(f"WARNING: {error} Trying the next older one.")  # type: ignore[attr-defined]
        if Ranks.now().is_first:
            for file in Path(self.output_folder).glob("*.pth.partial"):  # what a kill while writing left behind
                file.unlink()
        if not whole:
            raise UserError(
                f"{self.output_folder}: expected an intact checkpoint to continue from, found only broken ones. Delete "
                f"them to start from scratch, or restore one from a backup."
            )
        return max(whole, key=lambda pair: pair[0])[1]
