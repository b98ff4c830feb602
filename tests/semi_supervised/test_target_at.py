"""Targets of lower resolution are those that nnU-Net makes."""

from __future__ import annotations

import pytest
import torch
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform

from nnunet_ext.semi_supervised.target_at import target_at


@pytest.mark.parametrize("dtype", [torch.int16, torch.bool])
def test_as_nnunet_does(dtype):
    target = torch.randint(0, 2 if dtype == torch.bool else 5, (2, 3, 4, 7, 6), generator=torch.manual_seed(0)).to(
        dtype
    )
    transform = DownsampleSegForDSTransform([[1, 1, 1], [1, 0.5, 0.5], [0.5, 0.25, 1 / 3]])
    for sample in target:
        for scale in transform(segmentation=sample)["segmentation"]:
            found = target_at(sample[None], scale.shape[1:])[0]
            assert found.dtype == dtype
            assert torch.equal(found, scale)


def test_of_two_the_second():
    assert target_at(torch.tensor([[[[1, 2, 3, 4]]]]), (1, 2)).tolist() == [[[[2, 4]]]]
