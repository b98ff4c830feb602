"""Which errors of torch.save mean that a file could not be written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nnunet_ext.errors import UserError
from nnunet_ext.files.write_error import is_write_error


def error_of(file: Path) -> Exception:
    with pytest.raises((OSError, RuntimeError)) as caught:
        torch.save({"w": torch.zeros(100_000)}, file)
    return caught.value


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full to stand for a full disk")
def test_a_full_disk():
    assert is_write_error(error_of(Path("/dev/full")))


def test_a_folder_that_is_gone(tmp_path):
    assert is_write_error(error_of(tmp_path / "gone" / "file.pth"))


def test_a_folder_in_place_of_the_file(tmp_path):
    assert is_write_error(error_of(tmp_path))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        UserError("FILE cannot be opened: expected something else"),
        ValueError("cannot be opened"),
    ],
)
def test_other_errors(error):
    assert not is_write_error(error)
