"""Headers are read as nibabel reads them."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nnunet_ext.files.nifti_header import TYPES, NiftiHeader

KINDS = {"1": nibabel.Nifti1Header, "2": nibabel.Nifti2Header}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("number", [*TYPES, 128, 2304])
def test_as_nibabel(kind: str, order: str, number: int) -> None:
    header = KINDS[kind](endianness=order)
    header["datatype"] = number
    header.set_data_shape((4, 5, 6))
    header["vox_offset"] = 544
    stream = io.BytesIO()
    stream.write(header.binaryblock)
    found = NiftiHeader.of(stream.getvalue())
    theirs = KINDS[kind].from_fileobj(io.BytesIO(stream.getvalue()), check=False)
    assert found.shape == theirs.get_data_shape() == (4, 5, 6)
    assert found.dtype == theirs.get_data_dtype()
    assert found.offset == theirs.get_data_offset() == 544


@pytest.mark.parametrize("shape", [(7,), (3, 4), (3, 4, 5, 2)])
def test_other_numbers_of_axes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), tmp_path / "a.nii")
    assert NiftiHeader.of((tmp_path / "a.nii").read_bytes()).shape == shape


@pytest.mark.parametrize(
    ("place", "content", "message"),
    [
        (0, b"\x01\x02\x03\x04", "no NIfTI header"),
        (40, b"\x08\x00", "no NIfTI header: 8 axes"),
        (40, b"\x00\x00", "no NIfTI header: 0 axes"),
        (42, b"\xff\xff", r"no NIfTI header: 3 axes of lengths \[-1, 5, 6\]"),
        (108, b"\x00\x00\x80\x7f", "no NIfTI header: voxels from byte inf"),
        (108, b"\x00\x00\xc0\x7f", "no NIfTI header: voxels from byte nan"),
        (70, b"\x63\x00", "data type 99, which cannot be read"),
    ],
)
def test_what_is_no_header(place: int, content: bytes, message: str) -> None:
    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_shape((4, 5, 6))
    damaged = bytearray(header.binaryblock)
    damaged[place : place + len(content)] = content
    with pytest.raises(ValueError, match=message):
        NiftiHeader.of(bytes(damaged))


def test_cut_off() -> None:
    with pytest.raises(ValueError, match="100 bytes, a header has 348"):
        NiftiHeader.of(nibabel.Nifti1Header(endianness="<").binaryblock[:100])
