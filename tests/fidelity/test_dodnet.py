"""The authors' dynamic head: features, parameters and logits that ours must reproduce."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunet_ext.networks.dynamic_head import DynamicHead

REFERENCE = Path(os.environ.get("NNUNET_EXT_REFERENCE", Path(__file__).parents[3] / "shared" / "reference"))
FILE = REFERENCE / "dodnet_head.npz"


@pytest.fixture(scope="module")
def reference() -> dict[str, torch.Tensor]:
    if not FILE.is_file():
        pytest.skip(f"{FILE} is not here; set NNUNET_EXT_REFERENCE to the folder that holds it")
    return {name: torch.from_numpy(array) for name, array in np.load(FILE).items()}


def test_authors_parameters_give_the_authors_logits(reference):
    head = DynamicHead(2)
    assert head.parameter_count == reference["params"].shape[1] == 162
    logits = head(reference["features"], reference["params"])
    assert logits.shape == reference["logits"].shape
    torch.testing.assert_close(logits, reference["logits"], rtol=0, atol=1e-5)


def test_biases_before_weights_would_not(reference):
    biases_first = reference["params"].roll(18, 1)
    assert (DynamicHead(2)(reference["features"], biases_first) - reference["logits"]).abs().max() > 0.1
