"""Numbers and arrays of numpy's become plain ones; anything else is an error."""

import numpy as np
import pytest

from nnunet_ext.fine_tuning.source import plain_json as module
from nnunet_ext.fine_tuning.source.plain_json import plain_json
from nnunet_ext.foreign import admitted_values


def test_numpy_becomes_plain():
    found = plain_json({"spacing": np.array([3.0, 1.0]), "batch": np.int64(2), "patch": (np.int32(4), 5), "none": None})
    assert found == {"spacing": [3.0, 1.0], "batch": 2, "patch": [4, 5], "none": None}
    assert type(found["batch"]) is int


def test_other_values():
    with pytest.raises(TypeError, match="of JSON values, got set"):
        plain_json({"x": {1}})


def test_names_are_those_of_json():
    found = plain_json({1: "a", None: 2, False: 3.5, 0.5: np.str_("b")})
    assert found == {"1": "a", "null": 2, "false": 3.5, "0.5": "b"}
    with pytest.raises(TypeError, match="with names of text, got tuple"):
        plain_json({(1, 2): 3})


def test_values_that_count_many_times(monkeypatch):
    """A few containers in one another can be 2**60 values, and one long text many."""
    wide: list = ["text"]
    for _ in range(60):
        wide = [wide, wide]
    with pytest.raises(ValueError, match="more than 5000000 values and characters"):
        plain_json({"wide": wide})
    monkeypatch.setattr(module, "MOST", 100)
    assert plain_json(["x" * 10] * 8) == ["x" * 10] * 8
    for many in (["x" * 10] * 10, np.zeros(101), {"x" * 101: 1}, [{"x" * 10: 1}] * 9, [0] * 100):
        with pytest.raises(ValueError, match="more than 100 values and characters"):
            plain_json(many)


def test_containers_without_end():
    circle: list = []
    circle.append(circle)
    with pytest.raises(ValueError, match="more than 100 containers in one another"):
        plain_json(circle)


def test_arrays_of_a_subclass():
    """As :mod:`nnunet_ext.foreign` reads them."""

    assert plain_json(np.arange(2).view(admitted_values._Array)) == [0, 1]
