"""A copy of a checkpoint that holds only weights and harmless values, so that it can be read without trust."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunet_ext.errors import UserError, is_write_error, one_line
from nnunet_ext.files.json_file import whole_file
from nnunet_ext.foreign.checkpoint import read_foreign_checkpoint
from nnunet_ext.foreign.plain_tensors import DEEPEST

NUMBERS = "biufcSU"  # kinds of numpy's dtypes: no objects, no structures
AS_THEY_ARE = (type(None), bool, int, float, complex, str, bytes, torch.device, torch.dtype, torch.Size)


class _LeftOut:
    """Stands for a value that is not copied."""


_LEFT_OUT = _LeftOut()


def harmless_copy(content: Any, target: Path) -> list[str]:
    """Write what a checkpoint holds, without everything that may run code when it is read.

    Containers of other classes, such as a defaultdict or a named tuple, become plain ones.

    Args:
        content: What the checkpoint holds, read with trust.
        target: The file to write; it must not be there.

    Returns:
        What was left out, as ``place: type``; in a list or tuple, None takes its place.

    Raises:
        UserError: Nothing is left, the file is there, or it cannot be written.
    """
    left_out: list[str] = []
    kept = _kept(content, "", left_out, {}, 0)
    if isinstance(kept, _LeftOut):
        raise UserError(
            f"{target}: expected something to write, found only {type(content).__name__}. Give another file."
        )
    try:
        with whole_file(target, new=True) as partial:
            torch.save(kept, partial)
            read_foreign_checkpoint(partial)
    except FileExistsError as error:
        raise UserError(f"--rewrite {target}: expected no such file yet, found one. Choose another.") from error
    except RuntimeError as error:
        if isinstance(error, UserError) or not is_write_error(error):
            raise
        raise UserError(
            f"--rewrite {target}: expected to write a checkpoint, got {one_line(error)!r}. Free space, or choose "
            f"another place."
        ) from error
    return left_out


def _kept(value: Any, place: str, left_out: list[str], done: dict[int, Any], depth: int) -> Any:
    """Return a value with only harmless ones in it; a tensor or a container that is in several places stays one."""
    if type(value) in AS_THEY_ARE:
        return value
    if id(value) in done:
        return done[id(value)]
    found = _of_value(value)
    if isinstance(found, _LeftOut) and depth < DEEPEST:
        found = _of_container(value, place, left_out, done, depth)
    if isinstance(found, _LeftOut):
        left_out.append(f"{place or 'the whole'}: {type(value).__module__}.{type(value).__qualname__}")
    done[id(value)] = found
    return found


def _of_value(value: Any) -> Any:
    if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized and _is_stored(value):
        return value.detach().as_subclass(Tensor)
    if isinstance(value, np.ndarray) and value.dtype.kind in NUMBERS and value.dtype.names is None:
        return np.array(value)
    if isinstance(value, np.generic) and value.dtype.kind in NUMBERS:
        return value
    return _LEFT_OUT


def _is_stored(tensor: Tensor) -> bool:
    """Whether all numbers that a tensor shows are stored, and on the CPU."""
    stored = tensor.untyped_storage().nbytes() if tensor.device.type == "cpu" else 0
    return tensor.numel() * tensor.element_size() <= stored


def _of_container(value: Any, place: str, left_out: list[str], done: dict[int, Any], depth: int) -> Any:
    if isinstance(value, dict):
        made: dict[Any, Any] = OrderedDict() if isinstance(value, OrderedDict) else {}
        done[id(value)] = made
        for key, each in value.items():
            where = f"{place}.{key}" if place else str(key)
            name = _kept(key, f"{where} (a key)", left_out, done, depth + 1)
            kept = _LEFT_OUT if isinstance(name, _LeftOut) else _kept(each, where, left_out, done, depth + 1)
            if not isinstance(kept, _LeftOut):
                made[name] = kept
        if isinstance(made, OrderedDict) and hasattr(value, "_metadata"):
            _keep_metadata(value._metadata, made, f"{place}._metadata", left_out, depth)
        return made
    for kind in (list, tuple, set):
        if isinstance(value, kind):
            each_kept = [_kept(each, f"{place}[{i}]", left_out, done, depth + 1) for i, each in enumerate(value)]
            return kind(None if isinstance(each, _LeftOut) else each for each in each_kept)
    return _LEFT_OUT


def _keep_metadata(value: Any, made: Any, place: str, left_out: list[str], depth: int) -> None:
    """Keep the versions of modules that ``state_dict`` writes beside the weights, if they are harmless as a whole."""
    lost: list[str] = []
    kept = _kept(value, place, lost, {}, depth + 1)
    if lost:
        left_out.append(lost[0])
    else:
        made._metadata = kept
