"""Whether an image file is intact.

SimpleITK returns a truncated .nii.gz padded with zeros, and reads NaN and infinite voxels of a NIfTI as zeros.
Otherwise a NIfTI is read here as nnU-Net's readers read it: compressed or not, whatever its name says, and ignoring
what follows it.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.errors import UserError, one_line
from nnunet_ext.files.nifti_header import NIFTI, NiftiHeader

GZIP = b"\x1f\x8b"
HEAD = 4096  # bytes that hold any header


def check_whole(file: Path) -> None:
    """Refuse a file that cannot be read and, for NIfTI, what SimpleITK hides.

    Raises:
        UserError: It is missing or may not be read; or it is a NIfTI that is cut off or holds NaN or infinite voxels.
    """
    content = _read(file)
    if not file.name.endswith(NIFTI):
        return
    try:
        voxels = _voxels(_uncompressed(content))
    except (EOFError, zlib.error, ValueError) as error:
        raise broken(file, one_line(error, last=True)) from error
    if np.issubdtype(voxels.dtype, np.inexact):
        check_finite(file, voxels)


def nifti_shape(file: Path) -> tuple[int, ...]:
    """Return a NIfTI's shape (X, Y, Z), and further axes, from its header alone.

    Raises:
        UserError: It may not be read, or has no header.
    """
    content = _read(file, HEAD)
    try:
        if content.startswith(GZIP):
            content = zlib.decompressobj(wbits=31).decompress(content, HEAD)
        return NiftiHeader.of(content).shape
    except (zlib.error, ValueError) as error:
        raise broken(file, one_line(error, last=True)) from error


def check_finite(file: Path, array: NDArray) -> None:
    """Refuse NaN and infinite voxels.

    Raises:
        UserError: There is one.
    """
    wrong = array.size - int(np.isfinite(array).sum())
    if wrong:
        raise UserError(
            f"{file}: expected finite values, found NaN or Inf in {wrong} voxel{'s' * (wrong > 1)}. "
            f"Replace them by the value of the surroundings or of air."
        )


def broken(file: Path, reason: str) -> UserError:
    """Return the error about a file that is not intact."""
    return UserError(
        f"{file}: expected an intact image, but it is corrupt or truncated ({reason}). Copy or export it again."
    )


def forbidden(file: Path, error: OSError) -> UserError:
    """Return the error about a file that the operating system does not let us read."""
    return UserError(
        f"{file}: expected an image that can be read, got {error.strerror or str(error)!r}. Make it readable (chmod "
        f"u+r), or check its disk."
    )


def _read(file: Path, size: int = -1) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(size if file.name.endswith(NIFTI) else 1)
    except FileNotFoundError as error:
        raise UserError(f"{file}: expected an image, found no file. Add it.") from error
    except OSError as error:
        raise forbidden(file, error) from error


def _uncompressed(content: bytes) -> bytes:
    """The content of a gzip file, or of one that only has such a name; what follows the last stream is ignored."""
    parts = []
    while content.startswith(GZIP):
        stream = zlib.decompressobj(wbits=31)
        parts.append(stream.decompress(content))
        if not stream.eof:
            raise EOFError("the compressed stream ends early")
        content = stream.unused_data
    return b"".join(parts) if parts else content


def _voxels(content: bytes) -> NDArray:
    """The voxels as stored, flat.

    Raises:
        ValueError: There are fewer than the header announces.
    """
    header = NiftiHeader.of(content)
    count = math.prod(header.shape)
    needed = header.offset + count * header.dtype.itemsize
    if len(content) < needed:
        raise ValueError(f"{len(content)} bytes, the header announces {needed}")
    return np.frombuffer(content, header.dtype, count, header.offset)
