"""The normalization of each channel in fine-tuning plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.decision import Decision, Origin
from nnunet_ext.fine_tuning.own_plans import OwnPlans
from nnunet_ext.fine_tuning.source.source_model import SourceModel

CT = "CTNormalization"
INTENSITIES = "foreground_intensity_properties_per_channel"


@dataclass(frozen=True)
class Channel:
    """How a channel is normalized.

    Args:
        scheme: Name of nnU-Net's class.
        mask: ``use_mask_for_norm``: only voxels that are not zero count.
        intensities: Of the foreground: what :data:`CT` clips to and scales by.
        decision: Why.
    """

    scheme: str
    mask: bool
    intensities: Mapping[str, Any]
    decision: Decision


def decide_normalization(
    source: SourceModel, own: OwnPlans, planned: Mapping[str, Any], wanted: str | None = None
) -> list[Channel]:
    """Decide how each channel of the data is normalized: as the weights expect, where the source had that channel.

    Channels are matched by name. A CT channel of the source brings its own limits, mean and standard deviation. Where
    the source does not name its channels, those at the same place are taken for the same if they have the same scheme.

    Args:
        source: The model.
        own: The data's own plans.
        planned: The configuration that the planner makes for the data.
        wanted: ``source``, ``target``, or None.

    Returns:
        The channels in their order.

    Raises:
        UserError: ``source``, and it has no channel for one of the data's.
    """
    number = len(source.configuration["normalization_schemes"])
    matches = match_channels(source.channel_names, own.channels, number)
    if source.pretraining is not None and number == 1:  # every channel gets its kernels
        matches = [0] * len(own.channels)
    elif wanted == "source":
        matches = _all_matched(source, own, matches)
    channels = []
    for number, (name, match) in enumerate(zip(own.channels, matches, strict=True)):
        mine = _planned(own.plans, planned, number)
        theirs = None if match is None else _planned(source.plans, source.configuration, match)
        known = source.channel_names is not None
        origin, why = _reason(mine, theirs, wanted, known)
        unlike = not known and theirs is not None and theirs[0] != mine[0] and wanted is None
        warning = f"normalization of {name!r}: {why}; --normalization source takes it" if unlike else ""
        taken = theirs if theirs is not None and _is_theirs(origin, wanted) else mine
        taken = (*taken[:2], taken[2] or mine[2])  # a pre-training has no numbers, and its schemes need none
        shown = taken[0].removesuffix("Normalization") + (" of voxels that are not zero" if taken[1] else "")
        if taken[0] == CT:
            numbers = {key: taken[2].get(key) for key in ("percentile_00_5", "percentile_99_5", "mean", "std")}
            shown += " {:.4g} to {:.4g}, mean {:.4g}, std {:.4g}".format(*numbers.values())
        value = {"scheme": taken[0], "use_mask_for_norm": taken[1]}
        value |= {"intensities": dict(taken[2])} if taken[0] == CT else {}
        decision = Decision(f"normalization of {name!r}", value, origin, why, shown, warning)
        channels.append(Channel(*taken, decision))
    return channels


def match_channels(theirs: Sequence[str] | None, mine: Sequence[str], number: int) -> list[int | None]:
    """Return for each of the data's channels the source's channel of the same name, in any case of letters, or None.

    Args:
        theirs: Names of the source's channels; None: unknown, then as many channels match in their order.
        mine: Names of the data's channels.
        number: How many channels the source has.

    Example:
        >>> match_channels(["T1", "CT"], ["ct", "T2"], 2)
        [1, None]
    """
    if theirs is None:
        return list(range(number)) if number == len(mine) else [None] * len(mine)
    free = [name.casefold() for name in theirs]
    found: list[int | None] = []
    for name in mine:
        match = free.index(name.casefold()) if name.casefold() in free else None
        if match is not None:
            free[match] = ""  # a name may occur twice, as that of two phases
        found.append(match)
    return found


def _planned(
    plans: Mapping[str, Any], configuration: Mapping[str, Any], channel: int
) -> tuple[str, bool, Mapping[str, Any]]:
    scheme, mask = (configuration[key][channel] for key in ("normalization_schemes", "use_mask_for_norm"))
    return scheme, bool(mask), plans[INTENSITIES].get(str(channel), {})


def _reason(
    mine: tuple[str, bool, Mapping[str, Any]],
    theirs: tuple[str, bool, Mapping[str, Any]] | None,
    wanted: str | None,
    known: bool,
) -> tuple[Origin, str]:
    if wanted is not None:
        return "flag", f"--normalization {wanted}"
    if theirs is None:
        return "target", "the source has no channel of this name" if known else "the source has another number of them"
    if not known and theirs[0] != mine[0]:
        return "target", f"the source does not name its channels, and {theirs[0]} of its own is another scheme"
    if theirs[0] == CT:
        return "source", "the weights expect its limits, mean and standard deviation"
    if theirs[:2] == mine[:2]:
        return "both", "the scheme has no numbers of a dataset's"
    return "source", "the weights expect it for this channel"


def _is_theirs(origin: Origin, wanted: str | None) -> bool:
    return wanted == "source" or (wanted is None and origin == "source")


def _all_matched(source: SourceModel, own: OwnPlans, matches: list[int | None]) -> list[int | None]:
    """Complete the matches with channels that are left over, in their order."""
    number = len(source.configuration["normalization_schemes"])
    left = [channel for channel in range(number) if channel not in matches]
    if len(left) < matches.count(None):
        names = ", ".join(source.channel_names or [str(number)])
        raise UserError(
            f"--normalization source: expected a channel of the source for each of {', '.join(own.channels)}, found "
            f"{number} ({names}). Leave the option out: channels of the same name are kept from the source anyway."
        )
    return [left.pop(0) if match is None else match for match in matches]
