"""Files that would run code, or more than they seem to hold, when they are read carelessly.

Each pickle writes the file that it is told; ``test_payloads_work`` shows that Python's own reader lets it.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # of torch.save before 1.6


def text(word: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(word.encode())) + word.encode()


def reduced(module: str, name: str, argument: str) -> bytes:
    """``module.name(argument)`` by GLOBAL and REDUCE, protocol 2."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + text(argument) + b"\x85R."


def _write(marker: Path) -> str:
    return f"open({str(marker)!r}, 'w').close()"


class _ByMethod:
    """Asks for a function by its pickled form."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.arguments = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.arguments


def _setstate(marker: Path) -> bytes:
    """BUILD of an object that the file makes."""
    return b"\x80\x02chostile_files\nCallsItsState\n)\x81" + text(_write(marker)) + b"b."


class CallsItsState:
    """A class whose ``__setstate__`` does harm."""

    def __setstate__(self, state: str) -> None:
        exec(state)


def _nested_getattr(marker: Path) -> bytes:
    """``getattr(__import__("os"), "system")(...)``."""
    imported = b"c__builtin__\n__import__\n" + text("os") + b"\x85R"
    found = b"c__builtin__\ngetattr\n" + imported + text("system") + b"\x86R"
    return b"\x80\x02" + found + text(f"touch '{marker}'") + b"\x85R."


def _numpy_objects(marker: Path) -> bytes:
    array = np.empty(1, object)
    array[0] = _ByMethod(exec, _write(marker))
    return pickle.dumps(array, protocol=2)


PICKLES: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    # name: what the refusal names, the pickle
    "os.system": ("os.system", lambda marker: reduced("os", "system", f"touch '{marker}'")),
    "posix.system": ("posix.system", lambda marker: reduced("posix", "system", f"touch '{marker}'")),
    "eval": ("builtins.eval", lambda marker: reduced("__builtin__", "eval", _write(marker))),
    "exec, protocol 4": (
        "builtins.exec",
        lambda marker: pickle.dumps(_ByMethod(exec, _write(marker)), protocol=4),
    ),
    "INST": ("os.system", lambda marker: f"(S\"touch '{marker}'\"\nios\nsystem\n.".encode()),
    "OBJ": ("subprocess.getoutput", lambda marker: b"(csubprocess\ngetoutput\n" + text(f"touch '{marker}'") + b"o."),
    "NEWOBJ": (
        "subprocess.Popen",
        lambda marker: b"\x80\x02csubprocess\nPopen\n]" + text("touch") + b"a" + text(str(marker)) + b"a\x85R.",
    ),
    "BUILD": ("hostile_files.CallsItsState", _setstate),
    "nested getattr": ("builtins.", _nested_getattr),
    "pickle in a pickle": (
        "pickle.loads",
        lambda marker: pickle.dumps(_ByMethod(pickle.loads, reduced("os", "system", f"touch '{marker}'")), protocol=2),
    ),
    "objects of numpy": ("numpy values of type 'O8'", _numpy_objects),
    "runpy": (
        "runpy.run_path",
        lambda marker: reduced("runpy", "run_path", str(_script(marker))),
    ),
}


def _script(marker: Path) -> Path:
    file = marker.with_name("script.py")
    file.write_text(_write(marker))
    return file


def torch_zip(file: Path, pickled: bytes, *, compressed: bool = False) -> Path:
    """A file of ``torch.save`` with another pickle in it."""
    saved = io.BytesIO()
    torch.save({"network_weights": {"w": torch.zeros(4)}}, saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(file, "w") as target:
        for entry in source.infolist():
            content = pickled if entry.filename.endswith("/data.pkl") else source.read(entry)
            target.writestr(entry.filename, content, zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED)
    return file


def torch_legacy(file: Path, pickled: bytes) -> Path:
    """A file of ``torch.save`` before 1.6 with another pickle in it."""
    head = [LEGACY_MAGIC, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    file.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in head) + pickled + pickle.dumps([], 2))
    return file


def lying(
    file: Path, size: tuple[int, ...], stride: tuple[int, ...], *, stored: int = 4, start: int = 0, legacy: bool = False
) -> Path:
    """A checkpoint with a tensor ``liar`` of another shape than its stored numbers."""
    storage = torch.zeros(stored).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    liar = _ByMethod(torch._utils._rebuild_tensor_v2, typed, start, size, stride, False, {})
    content = {"network_weights": {"liar": liar}, "trainer_name": "nnUNetTrainer"}
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file
