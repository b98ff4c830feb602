"""A layer's values, moved into the same layer of another size."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

Places = Sequence[tuple[int, int]]  # (new place, old place)


def moved(fresh: Tensor, old: Tensor | None, outputs: Places, inputs: Places | None = None) -> Tensor | None:
    """Return a copy of a fresh tensor with an old one's values at their new places; None if they do not fit.

    Args:
        fresh: Weight (O, I, ...) or bias (O) as initialized; outputs that are not moved stay as they are.
        old: The old layer's tensor (O', I', ...); None: there is none.
        outputs: Places along the first axis.
        inputs: Places along the second; a moved output takes nothing (0) from inputs that are not moved. None: the
            inputs are the same.
    """
    if old is None or old.ndim != fresh.ndim or fresh.ndim == 0:
        return None
    alike = 2 if inputs is not None and fresh.ndim > 1 else 1
    if old.shape[alike:] != fresh.shape[alike:]:
        return None
    if any(not _within(pairs, fresh.shape[axis], old.shape[axis]) for axis, pairs in _axes(alike, outputs, inputs)):
        return None
    result = fresh.detach().clone()
    there, here = _columns(outputs)
    rows = old[here].to(result)
    if alike == 2:
        assert inputs is not None
        new_inputs, old_inputs = _columns(inputs)
        taken = rows.new_zeros((len(rows), *result.shape[1:]))
        taken[:, new_inputs] = rows[:, old_inputs]
        rows = taken
    result[there] = rows
    return result


def _axes(alike: int, outputs: Places, inputs: Places | None) -> list[tuple[int, Places]]:
    return [(0, outputs), *([(1, inputs)] if alike == 2 and inputs is not None else [])]


def _within(pairs: Places, new: int, old: int) -> bool:
    return all(0 <= there < new and 0 <= here < old for there, here in pairs)


def _columns(pairs: Places) -> tuple[list[int], list[int]]:
    return [there for there, _ in pairs], [here for _, here in pairs]
