"""The record of which checkpoint a validation is of."""

from __future__ import annotations

import json

from nnunet_ext.base.validated_checkpoint import validated_checkpoint, write_validated_checkpoint


def test_what_is_recorded_is_read(tmp_path):
    write_validated_checkpoint(tmp_path, "checkpoint_best.pth")
    assert json.loads((tmp_path / "validated.json").read_text()) == {"checkpoint": "checkpoint_best.pth"}
    assert validated_checkpoint(tmp_path) == "checkpoint_best.pth"


def test_without_a_record_it_is_nnunets_default(tmp_path):
    assert validated_checkpoint(tmp_path) == "checkpoint_final.pth"
