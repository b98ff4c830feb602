"""``nnunet_ext preprocess_raters``: the maps alone, with plans that exist."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from nnunet_ext.cli.main import main

WORDS = "preprocess_raters -d 701 -p LitePlans --no_pbar -np 1"


def test_all_configurations(rated: Callable[..., Any], capsys):
    planned = rated(None) / "preprocessed" / "Dataset701_Rated"
    for name in ("2d", "3d_fullres"):
        shutil.rmtree(planned / f"LitePlans_{name}_raters")
    assert main(WORDS.split()) == 0
    out = capsys.readouterr().out
    assert "3d_fullres: maps of 3 raters: labels are resampled by nnunet_ext" in out
    assert f"{planned / 'LitePlans_2d_raters'}: exact, generous, strict" in out
    assert len(list((planned / "LitePlans_2d_raters").glob("*.b2nd"))) == 5


def test_a_grid_that_differs(rated: Callable[..., Any], capsys):
    raters = rated(None) / "raw" / "Dataset701_Rated" / "labelsTr_raters"
    shutil.copy(raters / "exact" / "case_000.nii.gz", raters / "exact" / "case_004.nii.gz")
    assert main(WORDS.split()) == 2
    assert "exact/case_004.nii.gz: expected the shape" in capsys.readouterr().err
