"""The packages that nnunet_ext needs, with the versions that are installed here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement

from nnunet_ext.errors import UserError

ROOT = "nnunet_ext"
# the base image has its own torch, built for its CUDA
OF_THE_IMAGE = re.compile(r"(torch|torchvision|torchaudio|triton|pytorch-triton|nvidia-.*|cuda-.*)")


def pinned_requirements() -> list[str]:
    """Return a line ``name==version`` for each package that nnunet_ext needs, but for torch and what only that needs.

    Raises:
        UserError: A package that one of them needs is not installed.

    Example:
        >>> any(line.startswith("nnunetv2==") for line in pinned_requirements())
        True
        >>> any(line.startswith(("torch==", "nnunet")) for line in pinned_requirements() if "nnunetv2" not in line)
        False
    """
    versions: dict[str, str] = {}
    waiting = [ROOT]
    while waiting:
        for name in _needed_by(waiting.pop()):
            if name not in versions and not OF_THE_IMAGE.fullmatch(name):
                versions[name] = distribution(name).version.partition("+")[0]
                waiting.append(name)
    return [f"{name}=={version}" for name, version in sorted(versions.items())]


def _needed_by(package: str) -> Iterator[str]:
    """Packages that are needed on this system, without extras."""
    for line in distribution(package).requires or ():
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        name = re.sub(r"[-_.]+", "-", needed.name).lower()
        try:
            distribution(name)
        except PackageNotFoundError as error:
            if OF_THE_IMAGE.fullmatch(name):
                continue
            raise UserError(
                f"package {name}: expected it installed, since {package} needs it, found none. pip install {name}"
            ) from error
        yield name
