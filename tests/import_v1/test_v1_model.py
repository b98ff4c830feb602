"""Models of nnU-Net v1: folds that belong together."""

from __future__ import annotations

from pathlib import Path

import pytest
from v1_model import unet_weights, v1_plans, write_v1

from nnunet_ext.errors import UserError
from nnunet_ext.import_v1.v1_method import V1Method
from nnunet_ext.import_v1.v1_model import V1Model


def test_folds_of_another_network_or_method_are_refused(tmp_path: Path) -> None:
    method = V1Method.named("nnunet")
    write_v1(tmp_path, unet_weights(), v1_plans(), ("0", "1"))
    assert list(V1Model.read(method, tmp_path).checkpoints) == ["0", "1"]
    write_v1(tmp_path, unet_weights(heads=4), None, ("1",))
    with pytest.raises(UserError, match=r"fold_1/\S+: expected the network of \S+fold_0/\S+, found another"):
        V1Model.read(method, tmp_path)
    write_v1(tmp_path, unet_weights() | {"extra.weight": unet_weights()["tu.0.weight"]}, None, ("1",))
    with pytest.raises(UserError, match=r"fold_1/\S+: expected weights of nnunet, found the tensor 'extra.weight'"):
        V1Model.read(method, tmp_path)


def test_axes_that_the_network_does_not_have_are_refused(tmp_path: Path) -> None:
    kernels, pools = [[3, 3]] * 3, [[2, 2]] * 2
    write_v1(tmp_path, unet_weights(kernels, pools), v1_plans((16, 16), kernels=kernels, pools=pools))
    model = V1Model.read(V1Method.named("nnunet"), tmp_path)
    assert model.mirroring(None) == ([0, 1], "v1's default")
    with pytest.raises(UserError, match=r"--mirror_axes: expected axes of \[0, 1\], got \[2\]"):
        model.mirroring([2])
