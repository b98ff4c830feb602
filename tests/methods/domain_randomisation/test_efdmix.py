"""Exact matching of distributions, by hand."""

import torch

from nnunet_ext.methods.domain_randomisation.efdmix import efdmix

FEATURES = torch.tensor([[3.0, 1.0, 2.0], [0.0, 0.0, -1.0]])
PARTNER = torch.tensor([[10.0, 30.0, 20.0], [7.0, 5.0, 6.0]])
ORDER = torch.arange(3)


def test_the_partners_values_in_the_order_of_the_ranks():
    found = efdmix(FEATURES, PARTNER, 0.0, ORDER)
    assert found.tolist() == [[30, 10, 20], [6, 7, 5]]
    random, other = torch.randn(2, 4, 50)
    changed = efdmix(random, other, 0.0, torch.randperm(50))
    torch.testing.assert_close(changed.sort(1).values, other.sort(1).values)
    assert torch.equal(changed.argsort(1), random.argsort(1))


def test_ties_follow_the_order():
    assert efdmix(FEATURES, PARTNER, 0.0, torch.tensor([1, 0, 2]))[1].tolist() == [7, 6, 5]


def test_the_share():
    assert torch.equal(efdmix(FEATURES, PARTNER, 1.0, ORDER), FEATURES)
    assert efdmix(FEATURES, PARTNER, 0.25, ORDER)[0].tolist() == [23.25, 7.75, 15.5]


def test_the_gradient_is_that_of_the_identity():
    features, partner = FEATURES.clone().requires_grad_(), PARTNER.clone().requires_grad_()
    (efdmix(features, partner, 0.25, ORDER) * PARTNER).sum().backward()
    assert torch.equal(features.grad, PARTNER)
    assert partner.grad is None
