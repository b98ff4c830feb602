"""nnU-Net's variable for a while."""

from __future__ import annotations

import os

import pytest

from nnunet_ext.seeding.no_workers import VARIABLE, no_workers


@pytest.mark.parametrize("before", ["3", None])
def test_the_variable_is_put_back(before, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    if before:
        monkeypatch.setenv(VARIABLE, before)
    seen = []

    def fails() -> None:
        with no_workers():
            seen.append(os.environ[VARIABLE])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert seen == ["0"]
    assert os.environ.get(VARIABLE) == before
