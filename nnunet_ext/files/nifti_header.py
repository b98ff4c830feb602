"""What the header of a NIfTI file says of its voxels, read without nibabel, which the ONNX runner does not need."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np

NIFTI = (".nii", ".nii.gz")  # endings of files
# numbers of https://nifti.nimh.nih.gov: the sizes that a header begins with, and where it says what
SIZES = {348: ("h", 40, 70, "f", 108), 540: ("q", 16, 12, "q", 168)}  # of the shape: type, place; data type; offset
RGB, RGBA = np.dtype([(name, "u1") for name in "RGB"]), np.dtype([(name, "u1") for name in "RGBA"])
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 32: "c8", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8"}
TYPES |= {1280: "u8", 1792: "c16"}  # those of 128 bits and more, nnU-Net's readers do not read


@dataclass(frozen=True)
class NiftiHeader:
    """Shape, type and place of the voxels.

    Args:
        shape: (X, Y, Z), and further axes.
        dtype: Of the voxels as they are stored, in the file's byte order.
        offset: Bytes before the first voxel.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int

    @classmethod
    def of(cls, content: bytes) -> NiftiHeader:
        """Read a header.

        Args:
            content: The file, uncompressed, or its first 540 bytes.

        Raises:
            ValueError: It is no header of NIfTI 1 or 2, is cut off, or names a type that nnU-Net's readers do not read.
        """
        orders = {size: order for order in "<>" for size in SIZES if content[:4] == struct.pack(f"{order}i", size)}
        if not orders:
            raise ValueError("no NIfTI header")
        ((size, order),) = orders.items()
        if len(content) < size:
            raise ValueError(f"{len(content)} bytes, a header has {size}")
        integer, dims, datatype, real, offset = SIZES[size]
        axes, *lengths = struct.unpack_from(f"{order}8{integer}", content, dims)
        if not 1 <= axes <= 7 or min(lengths[:axes]) < 0:
            raise ValueError(f"no NIfTI header: {axes} axes of lengths {lengths[: max(axes, 0)]}")
        (number,) = struct.unpack_from(f"{order}h", content, datatype)
        (start,) = struct.unpack_from(f"{order}{real}", content, offset)
        if not math.isfinite(start):
            raise ValueError(f"no NIfTI header: voxels from byte {start}")
        return cls(tuple(lengths[:axes]), _dtype(number, order), int(start))


def _dtype(number: int, order: str) -> np.dtype:
    if number in (128, 2304):
        return RGB if number == 128 else RGBA
    if number not in TYPES:
        raise ValueError(f"data type {number}, which cannot be read")
    return np.dtype(order + TYPES[number])
