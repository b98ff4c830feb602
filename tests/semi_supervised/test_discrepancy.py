"""discrepancy, by hand."""

import pytest
import torch

from nnunet_ext.semi_supervised.discrepancy import discrepancy


def voxel(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities).view(1, -1, 1, 1)


def test_two_classes_are_the_mean_over_both_channels():
    """0.9, 0.1 against 0.6, 0.4: (0.3^2 + 0.3^2) / 2."""
    assert discrepancy(voxel(0.9, 0.1), voxel(0.6, 0.4), regions=False).item() == pytest.approx(0.09)


def test_further_classes_do_not_shrink_it():
    assert discrepancy(voxel(0.9, 0.1, 0, 0), voxel(0.6, 0.4, 0, 0), regions=False).item() == pytest.approx(0.09)


def test_one_region_has_the_value_of_two_classes_and_several_their_mean():
    assert discrepancy(voxel(0.9), voxel(0.6), regions=True).item() == pytest.approx(0.09)
    assert discrepancy(voxel(0.9, 0.5), voxel(0.6, 0.4), regions=True).item() == pytest.approx((0.09 + 0.01) / 2)


def test_mean_over_samples_and_voxels():
    first = torch.cat((voxel(1, 0), voxel(0, 1), voxel(1, 0), voxel(1, 0)))
    second = torch.cat((voxel(1, 0), voxel(1, 0), voxel(1, 0), voxel(0.5, 0.5)))
    assert discrepancy(first, second, regions=False).item() == pytest.approx((1 + 0.25) / 4)


def test_gradients_reach_both():
    first, second = voxel(0.9, 0.1).requires_grad_(), voxel(0.6, 0.4).requires_grad_()
    discrepancy(first, second, regions=False).backward()
    torch.testing.assert_close(first.grad, voxel(0.3, -0.3))
    torch.testing.assert_close(second.grad, voxel(-0.3, 0.3))
