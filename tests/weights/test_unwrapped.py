"""Prefixes of wrappers are taken off, if all names have them."""

from __future__ import annotations

import pytest

from nnunet_ext.weights.unwrapped import unwrapped


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["module.a", "module.b"], ["a", "b"]),
        (["_orig_mod.a"], ["a"]),
        (["module._orig_mod.a", "module._orig_mod.b"], ["a", "b"]),
        (["_orig_mod.module.a"], ["a"]),
        (["module.a", "b"], ["module.a", "b"]),
        (["module.a", "_orig_mod.b"], ["module.a", "_orig_mod.b"]),
        (["modules.a"], ["modules.a"]),
        (["module.a", 3], ["module.a", 3]),
        ([], []),
    ],
    ids=str,
)
def test_names(names, expected):
    assert unwrapped({name: number for number, name in enumerate(names)}) == {
        name: number for number, name in enumerate(expected)
    }
