"""The pinned versions: those that are installed, of everything that nnunet_ext needs, but for torch."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from nnunet_ext.challenges.packaging import pinned_requirements as module
from nnunet_ext.challenges.packaging.pinned_requirements import pinned_requirements
from nnunet_ext.errors import UserError


def test_what_is_pinned() -> None:
    lines = pinned_requirements()
    names = [line.split("==")[0] for line in lines]
    assert names == sorted(set(names))
    for name in ("nnunetv2", "numpy", "nibabel", "simpleitk", "batchgenerators", "dynamic-network-architectures"):
        assert f"{name}=={version(name)}" in lines  # also what only nnU-Net needs
    assert not {"torch", "torchvision", "triton", "nnunet-ext", "pytest", "monai"} & set(names)


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Needy:
        requires = ("torch", "no-such-package>=1", 'also-missing; extra == "x"')

    real = module.distribution
    monkeypatch.setattr(module, "distribution", lambda name: Needy() if name == "nnunet_ext" else real(name))
    with pytest.raises(UserError, match="package no-such-package: expected it installed, since nnunet_ext needs it"):
        pinned_requirements()
