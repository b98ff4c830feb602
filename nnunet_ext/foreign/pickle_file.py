"""Pickles that came from somebody else, such as the plans of nnU-Net v1, read without running code."""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

from nnunet_ext.errors import UserError, one_line
from nnunet_ext.foreign.admitted_values import NotAdmittedError, admitted_values

MOST_BYTES = 2**30  # plans of v1 hold intensities of all voxels and stay below 100 MB
BROKEN = (
    *(OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, MemoryError, OverflowError),
    *(struct.error, pickle.UnpicklingError),
)


def read_foreign_pickle(file: str | Path, *, trust: bool = False) -> Any:
    """Read a pickle without running code: v1's ``plans.pkl`` and ``model_best.model.pkl``.

    Args:
        file: The file.
        trust: Unpickle everything that it asks for, which may run code.

    Returns:
        Containers of numbers, text and numpy's numbers and arrays.

    Raises:
        UserError: The file is missing, damaged or larger than a GiB; or, without ``trust``, it asks for anything else.

    Example:
        >>> read_foreign_pickle("plans.pkl")["num_modalities"]  # doctest: +SKIP
        1
    """
    try:
        size = Path(file).stat().st_size
        if size > MOST_BYTES:
            raise UserError(
                f"{file}: expected a pickle of at most {MOST_BYTES} bytes, found {size}. Give plans.pkl or .model.pkl."
            )
        pickled = Path(file).read_bytes()
        if trust:
            return pickle.loads(pickled)
        _check_memo(pickled)
        return _Reader(pickled).load()
    except NotAdmittedError as error:
        raise UserError(
            f"{file}: expected only numbers and text, but it asks for {error}, which may run code. Only if you know "
            f"who made the file, read it with --trust."
        ) from error
    except UserError:
        raise
    except BROKEN as error:
        raise UserError(
            f"{file}: expected an intact pickle, but it cannot be read ({one_line(error)}). Copy it again."
        ) from error


class _Reader(pickle.Unpickler):
    def __init__(self, pickled: bytes) -> None:
        super().__init__(io.BytesIO(pickled))
        self._admitted = admitted_values() | {
            "collections.OrderedDict": OrderedDict,
            "builtins.set": set,
            "builtins.frozenset": frozenset,
            "_codecs.encode": _latin1,
        }

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{'builtins' if module == '__builtin__' else module}.{name}"  # Python 2's name, in protocols to 2
        if asked not in self._admitted:
            raise NotAdmittedError(asked)
        return self._admitted[asked]

    def persistent_load(self, pid: Any) -> Any:
        raise NotAdmittedError(f"an object outside of the file, {str(pid)[:40]!r}")


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """Protocols 0 to 2 write bytes as text in Latin-1."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _check_memo(pickled: bytes) -> None:
    """Refuse a number in the memo that no pickle of this size can have: a table of that length would be made."""
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name.endswith("PUT") and int(argument) > len(pickled):  # type: ignore[arg-type]
            raise ValueError(f"{opcode.name} {argument} in {len(pickled)} bytes")
