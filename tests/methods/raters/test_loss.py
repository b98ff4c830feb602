"""Losses on several raters: reductions to nnU-Net's bit for bit, missing raters, PADL's heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from small_unet import GEOMETRIES, small_unet
from torch import Tensor, nn
from torch.nn import functional

from nnunet_ext.methods.raters.architecture import RaterOutput, RaterUNet
from nnunet_ext.methods.raters.loss import AgreementLoss, HeadsLoss, PreferenceLoss, RatersStep, SharesLoss
from nnunet_ext.methods.raters.masked_loss import masked_loss
from nnunet_ext.methods.raters.preference_heads import FLOOR, PreferenceHeads, attention
from nnunet_ext.methods.raters.rated_labels import RatedLabels
from nnunet_ext.methods.raters.soft_loss import SoftLoss

SHAPE = (4, 6, 5)
FORMS: dict[str, RatedLabels] = {
    "labels": RatedLabels(3),
    "ignore": RatedLabels(3, ignore=3),
    "regions": RatedLabels(3, ((1, 2), (2,))),
    "regions, ignore": RatedLabels(3, ((1, 2), (2,)), 3),
}
every_form = pytest.mark.parametrize("form", FORMS)


def stock(labels: RatedLabels) -> Any:
    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": labels.regions is not None, "ddp": False}
    if labels.regions is not None:
        ignore = labels.ignore is not None
        return DC_and_BCE_loss({}, dice, use_ignore_label=ignore, dice_class=MemoryEfficientSoftDiceLoss)
    return DC_and_CE_loss(dice, {}, ignore_label=labels.ignore, dice_class=MemoryEfficientSoftDiceLoss)


def loss_of(kind: type, labels: RatedLabels, weights: list[float] | None = None) -> Any:
    supervised = stock(labels) if weights is None else DeepSupervisionWrapper(stock(labels), weights)
    return kind(supervised, labels, masked_loss(labels, batch_dice=False, ddp=False))


def drawn(labels: RatedLabels, raters: int, batch: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    highest = labels.labels + (labels.ignore is not None)
    return torch.randint(0, highest, (batch, 1 + raters, *SHAPE), generator=generator, dtype=torch.int16)


def logits(labels: RatedLabels, seed: int = 0) -> Tensor:
    outputs = labels.labels if labels.regions is None else len(labels.regions)
    return torch.randn(2, outputs, *SHAPE, generator=torch.Generator().manual_seed(seed))


@every_form
@pytest.mark.parametrize("raters", [1, 2, 3, 5, 7])
def test_identical_raters_have_nnunets_loss_and_gradient_bit_for_bit(form: str, raters: int) -> None:
    labels = FORMS[form]
    one = drawn(labels, 0)
    maps, present = one.expand(-1, 1 + raters, *SHAPE).contiguous(), torch.ones(2, raters, dtype=torch.bool)
    first, second = logits(labels).requires_grad_(), logits(labels).requires_grad_()
    value = loss_of(SharesLoss, labels)(first, RatersStep(maps, present))
    expected = stock(labels)(second, labels.target(one))
    assert torch.equal(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(first.grad, second.grad, rtol=1e-6, atol=1e-9)
    shares, _ = labels.shares(maps, present)
    assert set(shares.unique().tolist()) <= {0.0, 1.0}


def test_cross_entropy_of_the_shares_is_the_mean_over_the_raters() -> None:
    labels, maps, present = FORMS["labels"], drawn(FORMS["labels"], 3), torch.ones(2, 3, dtype=torch.bool)
    output = logits(labels)
    soft = SoftLoss(stock(labels), labels)
    shares, _ = labels.shares(maps, present)
    mean = torch.stack([functional.cross_entropy(output, maps[:, 1 + rater].long()) for rater in range(3)]).mean()
    found = soft(output, maps, present) - soft.stock.dc(output, shares)
    torch.testing.assert_close(found, mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(found, functional.cross_entropy(output, shares), rtol=0, atol=1e-6)


@every_form
def test_agreement_of_identical_raters_is_nnunets_loss(form: str) -> None:
    labels = FORMS[form]
    one = drawn(labels, 0)
    maps, present = one.expand(-1, 4, *SHAPE).contiguous(), torch.ones(2, 3, dtype=torch.bool)
    value = loss_of(AgreementLoss, labels)(logits(labels), RatersStep(maps, present))
    torch.testing.assert_close(value, stock(labels)(logits(labels), labels.target(one)))


@every_form
@pytest.mark.parametrize("kind", [SharesLoss, AgreementLoss])
def test_voxels_of_nobody_get_no_gradient(form: str, kind: type) -> None:
    labels = FORMS[form]
    maps, present = drawn(labels, 2), torch.ones(2, 2, dtype=torch.bool)
    if kind is SharesLoss:
        if labels.ignore is None:
            pytest.skip("somebody knows every voxel")
        unknown = (maps[:, 1:] == labels.ignore).all(1, keepdim=True)
    else:
        unknown = labels.agreed(maps, present) == labels.unknown
    output = logits(labels).requires_grad_()
    loss_of(kind, labels)(output, RatersStep(maps, present)).backward()
    assert unknown.any()
    gradient = output.grad.abs().sum(1, keepdim=True)  # type: ignore[union-attr]
    assert not gradient[unknown].any()
    assert gradient[~unknown].all()


def test_nothing_known_in_a_batch() -> None:
    labels = FORMS["ignore"]
    maps, present = torch.full((2, 3, *SHAPE), 3, dtype=torch.int16), torch.ones(2, 2, dtype=torch.bool)
    output = logits(labels).requires_grad_()
    value = loss_of(SharesLoss, labels)(output, RatersStep(maps, present))
    value.backward()
    assert value.isfinite()
    assert not output.grad.any()  # type: ignore[union-attr]


def network(raters: int, *, preferences: bool, geometry: str = "3d", regions: bool = False, classes: int = 3) -> Any:
    torch.manual_seed(0)
    strides, kernels, _ = GEOMETRIES[geometry]
    return RaterUNet(
        small_unet("plain", strides, kernels, classes=classes), raters, preferences=preferences, regions=regions
    )


def step_of(labels: RatedLabels, patch: tuple[int, ...], strides: Any, present: Tensor) -> RatersStep:
    maps = torch.randint(0, 3, (len(present), 1 + present.shape[1], *patch), dtype=torch.int16)
    scales, size = [], list(patch)
    for stride in strides[:-1]:
        size = [length // step for length, step in zip(size, stride, strict=True)]
        scales.append(functional.interpolate(maps.float(), size=size, mode="nearest-exact").to(torch.int16))
    return RatersStep(scales, present)  # type: ignore[arg-type]


@pytest.mark.parametrize("geometry", list(GEOMETRIES))
@pytest.mark.parametrize("preferences", [False, True])
@pytest.mark.parametrize("form", ["labels", "regions"])
def test_a_missing_rater_learns_nothing_and_everybody_else_does(geometry: str, preferences: bool, form: str) -> None:
    labels = FORMS[form]
    strides, _, patch = GEOMETRIES[geometry]
    regions = labels.regions is not None
    net = network(3, preferences=preferences, geometry=geometry, regions=regions, classes=2 if regions else 3)
    present = torch.tensor([[True, False, True], [True, False, False]])
    loss = loss_of(PreferenceLoss if preferences else HeadsLoss, labels, [0.75, 0.25])
    step = step_of(labels, patch, strides, present)
    loss(net.train()(torch.randn(2, 1, *patch)), step).backward()
    heads = net.preference_heads.seg_layers if preferences else net.rater_heads
    absent = [heads[3], heads[4]] if preferences else [heads[1]]
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    gone = {id(parameter) for module in absent for parameter in module.parameters()}
    assert gone
    for parameter in heads.parameters():
        assert parameter.grad.any() != (id(parameter) in gone) or parameter.ndim == 1
    assert all(not parameter.grad.any() for module in absent for parameter in module.parameters())
    assert step.parts.keys() == set(loss.parts)


def test_a_missing_rater_gets_nothing_from_that_sample_alone() -> None:
    labels = FORMS["labels"]
    output = logits(labels).requires_grad_()
    present = torch.tensor([[True], [False]])
    loss_of(HeadsLoss, labels).rater(output, RatersStep(drawn(labels, 1), present), 0).backward()
    assert output.grad[0].any()  # type: ignore[index]
    assert not output.grad[1].any()  # type: ignore[index]


@every_form
@pytest.mark.parametrize("weights", [None, [0.75, 0.25]], ids=["one scale", "two scales"])
def test_a_sample_that_nobody_rated_trains_padl(form: str, weights: list[float] | None) -> None:
    """On the case's own label, at full resolution; where all are rated, that label has no part in the loss."""
    labels = FORMS[form]
    strides, _, patch = GEOMETRIES["3d"]
    images = torch.randn(2, 1, *patch)

    def gradient(present: Tensor, own: int) -> Tensor:
        classes = 3 if labels.regions is None else 2
        net = network(2, preferences=True, regions=labels.regions is not None, classes=classes).train()
        net.decoder.deep_supervision = weights is not None
        step = step_of(labels, patch, strides, present)
        for maps in step.target:
            maps[:, 1:], maps[:, 0] = 1, own
        target = step.target if weights else step.target[0]
        output = net(images)
        mean = output.opinions.mean
        mean.retain_grad()
        torch.manual_seed(1)
        loss_of(PreferenceLoss, labels, weights)(output, RatersStep(target, present)).backward()
        return mean.grad

    nobody = torch.tensor([[True, True], [False, False]])
    assert gradient(nobody, 1)[1].any()
    assert not torch.equal(gradient(nobody, 1)[1], gradient(nobody, 2)[1])
    rated = torch.ones(2, 2, dtype=torch.bool)
    assert torch.equal(gradient(rated, 1), gradient(rated, 2))


@pytest.mark.parametrize("form", ["labels", "regions"])
def test_a_batch_that_processes_share_has_the_same_loss(form: str) -> None:
    """Of a rater who left one sample out; each process has one sample."""
    labels = FORMS[form]
    maps, present, loss = drawn(labels, 1), torch.tensor([[True], [False]]), loss_of(HeadsLoss, labels)
    joined = loss.rater(logits(labels), RatersStep(maps, present), 0)
    one, other = (
        loss.rater(logits(labels)[rank : rank + 1], RatersStep(maps[rank : rank + 1], present[rank : rank + 1]), 0)
        for rank in (0, 1)
    )
    torch.testing.assert_close(joined, (one + other) / 2)


def test_validation_takes_nnunets_own_loss() -> None:
    labels = FORMS["labels"]
    one = drawn(labels, 0)
    for kind in (SharesLoss, AgreementLoss, HeadsLoss, PreferenceLoss):
        assert torch.equal(loss_of(kind, labels)(logits(labels), one), stock(labels)(logits(labels), one))


def test_the_number_of_raters_does_not_change_the_loss() -> None:
    labels, present = FORMS["labels"], torch.ones(2, 4, dtype=torch.bool)
    maps = drawn(labels, 0).expand(-1, 5, *SHAPE).contiguous()
    few = loss_of(HeadsLoss, labels)(
        RaterOutput(logits(labels), [logits(labels)], None), RatersStep(maps[:, :2], present[:, :1])
    )
    many = loss_of(HeadsLoss, labels)(
        RaterOutput(logits(labels), [logits(labels)] * 4, None), RatersStep(maps, present)
    )
    torch.testing.assert_close(few, many)


def test_entropy() -> None:
    zero, sure = torch.zeros(1, 2, 3), torch.full((1, 2, 3), 20.0)
    for regions in (True, False):
        torch.testing.assert_close(
            attention(zero, regions=regions), torch.full((1, 2 if regions else 1, 3), 2.0), rtol=0, atol=6e-6
        )
    for value in (sure, -sure):
        torch.testing.assert_close(attention(value, regions=True), torch.ones(1, 2, 3), rtol=0, atol=3e-6)
    classes = torch.tensor([20.0, -20.0, -20.0]).view(1, 3, 1)
    torch.testing.assert_close(attention(classes, regions=False), torch.ones(1, 1, 1), rtol=0, atol=3e-6)
    thirds = attention(torch.zeros(1, 3, 1), regions=False)
    torch.testing.assert_close(thirds, torch.full((1, 1, 1), 2.0), rtol=0, atol=6e-6)


def test_entropy_is_detached() -> None:
    mean = torch.randn(1, 2, 4, requires_grad=True)
    assert not attention(mean, regions=True).requires_grad


@pytest.mark.parametrize(("features", "outputs", "raters", "published"), [(32, 2, 6, 1106), (32, 4, 3, 1364)])
def test_parameters_of_the_heads(features: int, outputs: int, raters: int, published: int) -> None:
    """The authors' count, less their batch norms."""
    heads = PreferenceHeads(nn.Conv3d, features, outputs, raters, regions=True)
    own = sum(parameter.numel() for parameter in heads.parameters()) + features * outputs + outputs
    assert own == published - (1 + 2 * raters) * 2 * outputs


def test_without_residual_and_with_equal_sigma_a_rater_is_the_consensus() -> None:
    heads = PreferenceHeads(nn.Conv3d, 4, 2, 2, regions=False)
    for head in heads.seg_layers:
        for parameter in head.out.parameters():  # type: ignore[union-attr]
            nn.init.zeros_(parameter)
    mean = torch.randn(1, 2, 3, 3, 3)
    found = heads(torch.randn(1, 4, 3, 3, 3), mean)
    assert all(torch.equal(rater, mean) for rater in found.raters)
    assert all(torch.equal(sigma, found.sigma) for sigma in found.sigmas)
    torch.testing.assert_close(found.sigma, torch.full_like(mean, 0.6931472 + FLOOR))


@pytest.mark.parametrize("preferences", [False, True])
def test_the_network(preferences: bool) -> None:
    net = network(2, preferences=preferences).eval()
    images = torch.randn(1, 1, *GEOMETRIES["3d"][2])
    plain = small_unet("plain", *GEOMETRIES["3d"][:2])
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if k in plain.state_dict()})
    consensus = net(images)
    assert all(torch.equal(one, other) for one, other in zip(consensus, plain.eval()(images), strict=True))
    net.rater = 1
    assert not torch.equal(net(images)[0], consensus[0])
    net.decoder.deep_supervision = False
    opinion = net(images)
    net.train()
    trained = net(images)
    assert torch.equal(opinion, trained.opinions.raters[1] if preferences else trained.raters[1])
    further = set(net.state_dict()) - set(plain.state_dict())
    assert further
    assert all(".seg_layers." in name for name in further)


def test_renamed_raters_have_permuted_outputs() -> None:
    net = network(2, preferences=False).eval()
    images = torch.randn(1, 1, *GEOMETRIES["3d"][2])
    net.decoder.deep_supervision = False
    net.rater = 0
    before = net(images)
    net.rater_heads = nn.ModuleList(reversed(net.rater_heads))
    net.rater = 1
    assert torch.equal(net(images), before)


def test_padl_without_deep_supervision_is_its_full_resolution() -> None:
    labels, net = FORMS["labels"], network(2, preferences=True)
    strides, _, patch = GEOMETRIES["3d"]
    step, images = step_of(labels, patch, strides, torch.ones(2, 2, dtype=torch.bool)), torch.randn(2, 1, *patch)
    losses = []
    for weights in ([1.0, 0.0], None):
        torch.manual_seed(1)
        net.decoder.deep_supervision = weights is not None
        target = step.target if weights else step.target[0]
        losses.append(loss_of(PreferenceLoss, labels, weights)(net.train()(images), RatersStep(target, step.present)))
    assert torch.equal(*losses)
