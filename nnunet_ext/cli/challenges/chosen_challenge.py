"""The challenge that a command's options name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.cli.common.packages import need_packages
from nnunet_ext.errors import UserError

if TYPE_CHECKING:
    from nnunet_ext.challenges.challenge import Challenge

CUSTOM = "custom"
CHALLENGES = ("kits21", "segrap2023_oar", "segrap2023_gtv", "kipa22", CUSTOM)
EMPTY = ("leave_out", "equal")


def chosen_challenge(
    name: str, references: Path, *, metrics: str | None, djfile: Path | None, empty: str | None, majority: bool
) -> Challenge:
    """Return what is measured, and make sure that the packages for it are there.

    Args:
        name: One of :data:`CHALLENGES`.
        references: Folder; dataset.json is looked for in it and above it.
        metrics: ``custom``: names of metrics; None: Dice.
        djfile: ``custom``: dataset.json.
        empty: ``custom``: one of :data:`EMPTY`.
        majority: ``kits21``: compare with majority votes.

    Raises:
        UserError: An option belongs to another challenge, or there is no dataset.json.
    """
    for flag, given, owner in (
        ("--metrics", metrics, CUSTOM),
        ("-djfile", djfile, CUSTOM),
        ("--empty", empty, CUSTOM),
        ("--majority", majority or None, "kits21"),
    ):
        if given is not None and name != owner:
            raise UserError(f"{flag}: expected it with {owner}, found it with {name}. Leave it out.")
    challenge = _custom(references, metrics, djfile, empty) if name == CUSTOM else _official(name, majority)
    if any(measure.metric.needs_surface_distance for measure in challenge.measures.values()):
        need_packages(["surface_distance"], "pip install 'nnunet_ext[challenges]', or pip install surface-distance")
    return challenge


def _official(name: str, majority: bool) -> Challenge:
    from nnunet_ext.challenges.official import official

    return official(name, majority=majority)


def _custom(references: Path, metrics: str | None, djfile: Path | None, empty: str | None) -> Challenge:
    from nnunet_ext.challenges.own_dataset import own_dataset
    from nnunet_ext.data.dataset_json import read_dataset_json
    from nnunet_ext.evaluation.mask_metrics import parse_metrics

    wanted = parse_metrics("dice" if metrics is None else metrics)
    file = djfile or _dataset_json(references)
    return own_dataset(read_dataset_json(file), wanted, count_both_empty=empty == "equal", where=str(file))


def _dataset_json(references: Path) -> Path:
    for folder in (references, references.absolute().parent):
        if (folder / "dataset.json").is_file():
            return folder / "dataset.json"
    raise UserError(
        f"{references}: expected dataset.json in it or in the folder above, found none. Give it with -djfile."
    )
