"""The phrase that ends an error about a name."""

from pathlib import Path

import pytest
import torch

from nnunet_ext.errors import UserError, is_write_error, nearest


def test_nearest_is_suggested_whatever_its_case() -> None:
    assert nearest("banettrainr", ["BANetTrainer", "nnUNetTrainer"]) == (
        "Did you mean 'BANetTrainer'? Legal: BANetTrainer, nnUNetTrainer."
    )


def test_nothing_is_suggested_for_nothing_alike() -> None:
    assert nearest("xyz", ["num_epochs", "seed"]) == "Legal: num_epochs, seed."


def test_no_legal_name() -> None:
    assert nearest("4", []) == "Legal: none."


def test_a_long_list_is_cut_to_the_nearest() -> None:
    text = nearest("name7", [f"name{number}" for number in range(100)])
    assert text.startswith("Did you mean 'name7'? Legal: name7, ")
    assert text.endswith(" and 88 more.")
    assert text.count("name") == 13


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
