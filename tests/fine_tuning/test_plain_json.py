"""Numbers and arrays of numpy's become plain ones; anything else is an error."""

import numpy as np
import pytest

from nnunet_ext.fine_tuning.plain_json import plain_json


def test_numpy_becomes_plain():
    found = plain_json({"spacing": np.array([3.0, 1.0]), "batch": np.int64(2), "patch": (np.int32(4), 5), "none": None})
    assert found == {"spacing": [3.0, 1.0], "batch": 2, "patch": [4, 5], "none": None}
    assert type(found["batch"]) is int


def test_other_values():
    with pytest.raises(TypeError, match="of JSON values, got set"):
        plain_json({"x": {1}})
