"""numpy's values in pickles: numbers and text are made, nothing that could be an address or run code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nnunet_ext.foreign.admitted_values import NotAdmittedError, admitted_values

ADMITTED = admitted_values()
DTYPE, NDARRAY = ADMITTED["numpy.dtype"], ADMITTED["numpy.ndarray"]
SCALAR = ADMITTED["numpy._core.multiarray.scalar"]
RECONSTRUCT = ADMITTED["numpy._core.multiarray._reconstruct"]
FROM_BUFFER = ADMITTED["numpy._core.numeric._frombuffer"]


def dtype(name: str, state: tuple[Any, ...] = (3, "<", None, None, None, -1, -1, 0)) -> Any:
    made = DTYPE(name, False, True)
    made.__setstate__(state)
    return made


def test_scalars():
    found = SCALAR(dtype("f8"), np.float64(0.1).tobytes())
    assert type(found) is np.float64
    assert found == 0.1
    assert SCALAR(dtype("i2", (3, ">", None, None, None, -1, -1, 0)), b"\x01\x02") == 258
    assert SCALAR(dtype("U3"), np.str_("abc").tobytes()) == "abc"


def test_names_in_bytes_as_python_2_wrote_them():
    made = DTYPE(b"i2", 0, 1)
    made.__setstate__((3, b">", None, None, None, -1, -1, 0))
    assert SCALAR(made, b"\x01\x02") == 258


@pytest.mark.parametrize("name", ["O8", "O", "V8", "V16", "M8", "m8", "|O8", "f8,O", "f3", "U0", "S9999999", ">f8", 8])
def test_other_types(name):
    with pytest.raises(NotAdmittedError, match="numpy values of type"):
        DTYPE(name, False, True)


@pytest.mark.parametrize(
    "state",
    [
        (3, "<", (np.dtype("O"), (1,)), None, None, 8, 1, 0),
        (3, "<", None, ("a",), None, 8, 1, 0),
        (3, "<", None, None, {"a": (np.dtype("O"), 0)}, 8, 1, 0),
        (3, "O", None, None, None, 8, 1, 27),
    ],
)
def test_a_type_that_becomes_another_one(state):
    """Eight bytes that are said to be an object would be an address."""
    with pytest.raises(NotAdmittedError, match="structured type"):
        dtype("f8", state)


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"\x00" * 9])
def test_a_scalar_of_another_size(content):
    with pytest.raises(ValueError, match="numpy values of shape"):
        SCALAR(dtype("f8"), content)


def test_arrays():
    for order, flag in (("C", False), ("F", True)):
        expected = np.arange(6.0).reshape(2, 3)
        made = RECONSTRUCT(NDARRAY, (0,), b"b")
        made.__setstate__((1, (2, 3), dtype("f8"), flag, expected.tobytes(order)))
        np.testing.assert_array_equal(made, expected)
        found = FROM_BUFFER(expected.tobytes(order), dtype("f8"), (2, 3), order)
        np.testing.assert_array_equal(found, expected)
        assert found.flags.writeable


@pytest.mark.parametrize("shape", [(3,), (2**40, 0, 1), (-1, -2), (2**62, 4)])
def test_an_array_of_another_size(shape):
    with pytest.raises(ValueError, match="numpy values of shape"):
        RECONSTRUCT(NDARRAY).__setstate__((1, shape, dtype("f8"), False, b"\x00" * 16))
    with pytest.raises(ValueError, match="numpy values of shape"):
        FROM_BUFFER(b"\x00" * 16, dtype("f8"), shape, "C")


@pytest.mark.parametrize(("kind", "content"), [(np.dtype("O"), b"\x00" * 8), (dtype("f8"), [object()])])
def test_an_array_of_objects(kind, content):
    """numpy's own would take them from a list."""
    with pytest.raises(NotAdmittedError, match="not stored as bytes"):
        RECONSTRUCT(NDARRAY).__setstate__((1, (1,), kind, False, content))


def test_what_cannot_be_called():
    with pytest.raises(TypeError):
        NDARRAY((10**12,))
    with pytest.raises(NotAdmittedError, match=r"a subclass of numpy\.ndarray"):
        RECONSTRUCT(np.memmap, (0,), b"b")
    with pytest.raises(TypeError):
        ADMITTED["builtins.bytes"](10**12)
    with pytest.raises(TypeError):
        ADMITTED["nnunet_ext.foreign.admitted_values._Array"]((10**12,))
