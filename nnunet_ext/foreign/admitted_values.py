"""What a pickle of somebody else may ask for besides plain Python values and tensors: numpy's numbers and arrays.

numpy's own functions are not called. A pickled dtype can claim that eight bytes are a Python object, so that its bytes
become an address in memory. Here a dtype is a name and a byte order, and only those of numbers and text are made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIMPLE = re.compile(r"(b1|i[1248]|u[1248]|f(2|4|8|16)|c(8|16|32)|[US][1-9][0-9]{0,5})")  # numbers and text
ORDERS = ("<", ">", "=", "|")


class NotAdmittedError(ValueError):
    """A pickle asks for what is not admitted; the message names it."""


class _DType:
    """A dtype as a pickle describes it, step by step: its name, and then its byte order."""

    def __init__(self, name: str | bytes, *_: bool) -> None:
        text = name.decode("ascii") if isinstance(name, bytes) else name
        if not isinstance(text, str) or SIMPLE.fullmatch(text) is None:
            raise NotAdmittedError(f"numpy values of type {str(name)[:40]!r}")
        self.name, self.order = text, "="
        self._made: np.dtype[Any] | None = None  # of one type, a file can have many values

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order, *structure = state[1:5]
        if isinstance(order, bytes):
            order = order.decode("ascii")
        if order not in ORDERS or any(part is not None for part in structure):
            raise NotAdmittedError(f"numpy values of a structured type, {self.name}")
        self.order, self._made = order, None

    def made(self) -> np.dtype[Any]:
        """Return numpy's own dtype."""
        if self._made is None:
            order = "" if self.order == "|" else self.order
            self._made = np.dtype(f"{order}{self.name}")
        return self._made


class _Array(np.ndarray[Any, Any]):
    """An array that is filled from bytes alone; otherwise an ordinary one, and pickled as such."""

    def __new__(cls) -> _Array:
        return super().__new__(cls, (0,), np.uint8)

    def __setstate__(self, state: Any, /) -> None:
        *_, shape, dtype, fortran, content = state
        made = _filled(content, dtype, shape)
        checked: Any = (1, tuple(shape), made, bool(fortran), bytes(content))
        super().__setstate__(checked)

    def __reduce__(self) -> Any:
        return np.asarray(self).view(np.ndarray).__reduce__()


class _NamedOnly:
    """Stands for numpy.ndarray, which pickles name as an argument; cannot be called."""


_NDARRAY = _NamedOnly()


def _reconstruct(kind: object, *_: object) -> _Array:
    if kind is not _NDARRAY:
        raise NotAdmittedError("a subclass of numpy.ndarray")
    return _Array()


def _scalar(dtype: object, content: object = b"") -> Any:
    made = _filled(content, dtype, ())
    return np.frombuffer(bytes(content), made, 1)[0]  # type: ignore[call-overload]


def _frombuffer(content: Any, dtype: object, shape: Sequence[int], order: str = "C", *_: object) -> NDArray[Any]:
    made = _filled(content, dtype, shape)
    return np.frombuffer(bytes(content), made).reshape(shape, order="F" if order == "F" else "C").copy()


def _no_bytes() -> bytes:
    """Old pickles write empty bytes as a call; with an argument, it would make as many bytes as a file says."""
    return b""


def _filled(content: Any, dtype: object, shape: Sequence[int]) -> np.dtype[Any]:
    """Return the dtype of values whose bytes are as many as their shape says.

    Raises:
        ValueError: They are not, or the values are no numbers and no text.
    """
    if not isinstance(dtype, _DType) or not isinstance(content, bytes | bytearray):
        raise NotAdmittedError("numpy values that are not stored as bytes")
    made = dtype.made()
    if any(size < 0 for size in shape) or math.prod(shape) * made.itemsize != len(content):
        raise ValueError(f"numpy values of shape {tuple(shape)} and type {dtype.name} in {len(content)} bytes")
    return made


def admitted_values() -> dict[str, Any]:
    """Return what is called in place of each function or class of numpy's that a pickle names.

    The names are those of all versions of numpy from 1.17 on. An array in the file is an instance of a subclass of
    ``numpy.ndarray``, which behaves and pickles like an ordinary one.

    Returns:
        For each name, ours. ``numpy.ndarray`` is not callable; it can only be an argument.

    Example:
        >>> sorted(admitted_values())[-2:]
        ['numpy.dtype', 'numpy.ndarray']
    """
    found: dict[str, Any] = {"numpy.dtype": _DType, "numpy.ndarray": _NDARRAY}
    found["builtins.bytes"] = _no_bytes
    for core in ("numpy.core", "numpy._core"):
        found[f"{core}.multiarray.scalar"] = _scalar
        found[f"{core}.multiarray._reconstruct"] = _reconstruct
        found[f"{core}.numeric._frombuffer"] = _frombuffer
    # that torch lets a pickle set its state; asked for by name, it makes an empty array
    found[f"{_Array.__module__}._Array"] = _Array
    return found
