"""Packages that are missing are named in one line, with the command that installs them."""

from __future__ import annotations

import sys

import pytest

from nnunet_ext.cli.common.packages import need_packages
from nnunet_ext.errors import UserError


def test_installed() -> None:
    before = set(sys.modules)
    need_packages(["wave", "json"], "pip install json")
    assert "wave" not in set(sys.modules) - before, "it is only looked for"


def test_missing() -> None:
    with pytest.raises(UserError) as refusal:
        need_packages(["json", "no_such", "nor_this"], "pip install json")
    assert str(refusal.value) == (
        "expected the packages json, no_such, nor_this, found no no_such and no nor_this. Install: pip install json"
    )
