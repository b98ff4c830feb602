"""Facts as text."""

from __future__ import annotations

import pytest

from nnunet_ext.inspection.facts_table import facts_table


def test_a_table():
    facts = {
        "kind": "model",
        "bytes": 1234567,
        "classes": {"left_atrium": 1, "wall": [1, 2]},
        "patch_size": [8, 16],
        "mirroring_axes": [0, 1],
        "architecture": {"class": "PlainConvUNet", "kernels": [[3, 3], [1, 3]], "features": [4, 8]},
        "parameters_in_millions": 0.12345,
        "resumable": False,
        "knobs": {"seed": 3, "ba_net": {"boundary_width": 5}},
        "folds": [{"fold": "0", "checkpoints": {"checkpoint_final.pth": {"epochs": 5}}}, {"fold": "1"}],
    }
    assert facts_table(facts).splitlines() == [
        "kind                    model",
        "bytes                   1.23 MB",
        "classes                 left_atrium: 1; wall: 1, 2",
        "patch size              8 x 16",
        "mirroring axes          0, 1",
        "architecture            class: PlainConvUNet; kernels: 3 x 3, 1 x 3; features: 4, 8",
        "parameters in millions  0.12",
        "resumable               no",
        "knobs",
        "  seed    3",
        "  ba_net  boundary_width: 5",
        "folds",
        "  fold  0",
        "  checkpoints",
        "    checkpoint_final.pth  epochs: 5",
        "  fold  1",
    ]


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (5 * 10**12, "5e+03 GB")]
)
def test_sizes(size, shown):
    assert facts_table({"bytes": size}) == f"bytes  {shown}"


def test_text_that_would_control_the_terminal():
    text = facts_table({"plans": "a\x1b[2Jb\nc", "a\x07": {"x\r": "y\u202e"}, "long": "a" * 500})
    assert text.splitlines() == [r"plans  a\x1b[2Jb\x0ac", r"a\x07  x\x0d: y\x202e", f"long   {'a' * 300}..."]
