"""The challenges by name."""

from __future__ import annotations

from nnunet_ext.challenges.challenge import Challenge
from nnunet_ext.challenges.kipa22 import kipa22
from nnunet_ext.challenges.kits21 import kits21
from nnunet_ext.challenges.segrap2023 import segrap2023

NAMES = ("kits21", "segrap2023_oar", "segrap2023_gtv", "kipa22")


def official(name: str, *, majority: bool = False) -> Challenge:
    """Return a challenge with its structures, metrics and rules.

    Args:
        name: ``kits21``, ``segrap2023_oar``, ``segrap2023_gtv`` or ``kipa22``.
        majority: KiTS21: compare with majority votes instead of sampled annotations.

    Example:
        >>> official("kits21").table
        'evaluation_samples.csv'
    """
    if name == "kits21":
        return kits21(majority=majority)
    if name == "kipa22":
        return kipa22()
    return segrap2023(name.removeprefix("segrap2023_"))
