"""Segmentation heads for other labels or regions."""

from __future__ import annotations

from torch import Tensor

from nnunet_ext.weights.roles import BACKGROUND, Roles

HEAD_RULES = ("match", "fresh")


def fitted_rows(fresh: Tensor, old: Tensor, theirs: Roles, ours: Roles) -> tuple[Tensor | None, str]:
    """Return a head's weight or bias with the rows of the labels or regions that the file knows, and what was done.

    A label or region takes the row of its name, background too; new ones keep their fresh rows. Rows are not taken
    from a softmax over labels for the sigmoid of a region or back: the former mean something only relative to one
    another. If only one side's names are known, a head of equal shape is taken as it is.

    Args:
        fresh: The network's own, (K, I, 1, 1, 1) or (K).
        old: The file's, (K', I, 1, 1, 1) or (K').
        theirs: Roles in the file's network.
        ours: Roles in the network.

    Returns:
        None as the first value: the head is to stay fresh.

    Example:
        >>> import torch
        >>> from nnunet_ext.weights.heads import fitted_rows
        >>> from nnunet_ext.weights.roles import Roles
        >>> liver = Roles(outputs=("background", "liver"))
        >>> both = Roles(outputs=("background", "kidney", "liver"))
        >>> fitted_rows(torch.zeros(3), torch.tensor([1.0, 2.0]), liver, both)
        (tensor([1., 0., 2.]), 'rows by name: background, liver; new: kidney')
    """
    if old.ndim != fresh.ndim or old.shape[1:] != fresh.shape[1:]:
        return None, ""
    known = [
        roles.outputs is not None and len(roles.outputs) == len(of) for roles, of in ((theirs, old), (ours, fresh))
    ]
    if not all(known):
        whose = "the network" if known[0] else "the file"
        if len(old) != len(fresh):
            return None, f"{len(old)} outputs in the file, {len(fresh)} here, and the labels of {whose} are unknown"
        return old, f"labels of {whose} unknown, rows by position"
    assert theirs.outputs is not None
    assert ours.outputs is not None
    if theirs.are_regions != ours.are_regions:
        kinds = ("regions (sigmoid)", "labels (softmax)")
        return None, f"{kinds[not theirs.are_regions]} in the file, {kinds[not ours.are_regions]} here"
    pairs = _partners(theirs.outputs, ours.outputs)
    if not any(ours.outputs[number] != BACKGROUND for number in pairs):
        return None, f"no {'region' if ours.are_regions else 'label'} in common with the file"
    if list(pairs.items()) == [(number, number) for number in range(len(old))] and len(old) == len(fresh):
        return old, ""
    rows = fresh.detach().clone()
    rows[list(pairs)] = old[list(pairs.values())].to(rows)
    told = [f"rows by name: {', '.join(ours.outputs[number] for number in pairs)}"]
    if new := [name for number, name in enumerate(ours.outputs) if number not in pairs]:
        told.append(f"new: {', '.join(new)}")
    if left := [name for number, name in enumerate(theirs.outputs) if number not in pairs.values()]:
        told.append(f"not taken: {', '.join(left)}")
    return rows, "; ".join(told)


def _partners(theirs: tuple[str, ...], ours: tuple[str, ...]) -> dict[int, int]:
    """Return for our rows those of the file with the same name; names that differ only in case are the same."""
    exact = {name: number for number, name in enumerate(theirs)}
    folded = {name.casefold(): number for name, number in exact.items() if name not in ours}
    found = ((number, exact.get(name, folded.get(name.casefold()))) for number, name in enumerate(ours))
    return {number: partner for number, partner in found if partner is not None}
