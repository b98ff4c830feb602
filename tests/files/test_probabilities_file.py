"""Probabilities are read as nnU-Net writes them; anything else is one clear line."""

import numpy as np
import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.files.probabilities_file import read_probabilities


def test_what_nnunet_writes(tmp_path):
    stored = np.arange(12, dtype=np.float32).reshape(2, 1, 2, 3)
    np.savez_compressed(tmp_path / "case.npz", probabilities=stored)
    assert np.array_equal(read_probabilities(tmp_path / "case.npz", "Predict again."), stored)


@pytest.mark.parametrize("content", ["cut", "other"])
def test_damaged_files(tmp_path, content):
    file = tmp_path / "case.npz"
    np.savez_compressed(file, **{"softmax" if content == "other" else "probabilities": np.zeros((2, 3, 3, 3))})
    if content == "cut":
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(UserError, match=r"case\.npz: expected probabilities .* got a damaged file .* Predict again\."):
        read_probabilities(file, "Predict again.")
