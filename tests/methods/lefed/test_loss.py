"""LeFeD's loss: literal numbers, which sample counts where, sizes of the side heads, and the authors' Dice."""

from __future__ import annotations

import math

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, nn
from torch.testing import assert_close

from nnunet_ext.methods.lefed.architecture import LeFeDOutput
from nnunet_ext.methods.lefed.loss import LeFeDLoss, LeFeDStep, SquaredDice


class Watched(nn.Module):
    """The mean logit; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Tensor, Tensor]] = []

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.asked.append((logits, target))
        return logits.mean()


def constant(value: float, *shape: int) -> Tensor:
    return torch.full(shape, float(value))


def output(samples: int = 2, channels: int = 2, random: bool = True) -> LeFeDOutput:
    """Three levels, of 8 x 4, 4 x 2 and 2 x 1 pixels."""
    make = torch.randn if random else torch.zeros
    side = [make(samples, channels, 8 // part, 4 // part, requires_grad=True) for part in (1, 2, 4)]
    full = [make(samples, channels, 8, 4, requires_grad=True) for _ in range(2)]
    return LeFeDOutput(*full, side, [torch.zeros(1)])


def dice_and_ce() -> nn.Module:
    options = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    return DC_and_CE_loss(options, {}, dice_class=MemoryEfficientSoftDiceLoss)


def test_total_is_both_decoders_and_weighted_sides_and_consistency():
    """Logits 1 and 2 in the decoders, 10, 20, 30 in the side heads; equal channels, so the decoders agree."""
    given = LeFeDOutput(
        constant(1, 1, 2, 4, 4),
        constant(2, 1, 2, 4, 4),
        [constant(10, 1, 2, 4, 4), constant(20, 1, 2, 2, 2), constant(30, 1, 2, 1, 1)],
        [constant(7, 1)],
    )
    loss = LeFeDLoss(Watched(), regions=False, side_weights=[0.5, 0.25])
    step = LeFeDStep(torch.zeros(1, 1, 4, 4))
    total = loss(given, step)
    assert total.item() == pytest.approx(1 + 2 + 0.5 * 10 + 0.25 * (20 + 30))
    parts = {name: part.item() for name, part in step.parts.items()}
    assert parts == pytest.approx({"supervised_loss": 3, "side_loss": 17.5, "consistency_loss": 0})
    assert step.feedback is given.feedback


def test_default_side_weights_fall_from_full_resolution_and_stay_at_a_tenth():
    side = [constant(1, 1, 2, 2**level, 2**level) for level in range(6, -1, -1)]
    loss = LeFeDLoss(Watched(), regions=False)
    step = LeFeDStep(torch.zeros(1, 1, 64, 64))
    loss(LeFeDOutput(side[0], side[0], side, []), step)
    assert step.parts["side_loss"].item() == pytest.approx(0.8 + 0.6 + 0.4 + 0.2 + 0.1 + 0.1 + 0.1)


def test_consistency_of_two_classes_is_the_papers():
    """Mean over samples, voxels and both channels of the squared difference of softmax; labelled samples too."""
    given = output(3)
    loss = LeFeDLoss(Watched(), regions=False)
    step = LeFeDStep(torch.zeros(1, 1, 8, 4))
    loss(given, step)
    papers = nn.functional.mse_loss(given.first.softmax(1), given.second.softmax(1))
    assert_close(step.parts["consistency_loss"], papers.detach())


def test_consistency_by_hand():
    """Odds 3 : 1 against 1 : 1 are 0.75 against 0.5."""
    first = torch.tensor([math.log(3), 0.0]).view(1, 2, 1, 1)
    second = torch.zeros(1, 2, 1, 1)
    loss = LeFeDLoss(Watched(), regions=False)
    step = LeFeDStep(torch.zeros(1, 1, 1, 1))
    loss(LeFeDOutput(first, second, [first, second], []), step)
    assert step.parts["consistency_loss"].item() == pytest.approx(0.0625)
    loss = LeFeDLoss(Watched(), regions=True)
    loss(LeFeDOutput(first[:, :1], second[:, :1], [first, second], []), step)
    assert step.parts["consistency_loss"].item() == pytest.approx(0.0625)


def test_consistency_sends_gradients_to_both_decoders_and_has_a_weight():
    given = output(2)
    losses = {}
    for weight in (0.0, 3.0):
        loss = LeFeDLoss(Watched(), regions=False, consistency_weight=weight)
        step = LeFeDStep(torch.zeros(1, 1, 8, 4))
        losses[weight] = loss(given, step)
    assert_close(losses[3.0] - losses[0.0], 3 * step.parts["consistency_loss"])
    for gradient in torch.autograd.grad(losses[3.0], (given.first, given.second)):
        assert gradient[1].abs().sum() > 0  # of the unlabelled sample


def test_supervised_terms_see_the_labelled_samples_only():
    watched = Watched()
    given = output(5)
    target = torch.randint(0, 2, (2, 1, 8, 4))
    LeFeDLoss(watched, regions=False)(given, LeFeDStep(target))
    assert len(watched.asked) == 2 + 3
    for logits, truth in watched.asked:
        assert len(logits) == len(truth) == 2
    assert torch.equal(watched.asked[0][0], given.first[:2])
    assert torch.equal(watched.asked[1][0], given.second[:2])
    gradients = torch.autograd.grad(sum(logits.sum() for logits, _ in watched.asked), given.side)
    assert all(gradient[2:].abs().sum() == 0 for gradient in gradients)


@pytest.mark.parametrize(("channels", "at_full_size"), [(4, None), (6, True)])
def test_side_logits_are_resized_to_the_image(channels, at_full_size):
    watched = Watched()
    given = output(1, channels)
    target = torch.zeros(1, 1, 8, 4)
    LeFeDLoss(watched, regions=False, side_at_full_size=at_full_size)(given, LeFeDStep(target))
    assert {tuple(logits.shape[2:]) for logits, _ in watched.asked} == {(8, 4)}
    halfway = nn.functional.interpolate(given.side[2], (4, 2), mode="bilinear", align_corners=True)
    resized = nn.functional.interpolate(halfway, (8, 4), mode="bilinear", align_corners=True)
    assert torch.equal(watched.asked[-1][0], resized)
    assert all(truth is target for _, truth in watched.asked)


def resized_to_the_image(side: list[Tensor], target_size: tuple[int, ...]) -> list[Tensor]:
    """What the loss makes of side logits."""
    watched = Watched()
    full = side[0].detach()
    loss = LeFeDLoss(watched, regions=False, side_at_full_size=True)
    loss(LeFeDOutput(full, full, side, []), LeFeDStep(torch.zeros(1, 1, *target_size)))
    return [logits for logits, _ in watched.asked[2:]]


def test_side_logits_double_step_by_step_with_corners_aligned():
    """0, 12 over 2 pixels are 0, 4, 8, 12 over 4; over 8 each third of a step of 4 / 7 x 3: the authors' numbers.

    In one step from 3 pixels to 12 the middle's slope would start elsewhere: 0, 0, 11 are 0, 0, 0, 2.2, 6.6, 11 over 6
    pixels with a kink at the third; in one step over 12 they are 0 up to the sixth and then rise by 2.
    """
    sides = [torch.zeros(1, 2, 1, length) for length in (12, 6, 3)]
    sides[2][0, :, 0] = torch.tensor([0.0, 0, 11])
    found = resized_to_the_image(sides, (1, 12))[2][0, 0, 0]
    # 6 pixels at 0, 0.4, 0.8, 1.2, 1.6, 2 of the 3: 0, 0, 0, 2.2, 6.6, 11; 12 at steps of 5 / 11 of these
    six = [0.0, 0, 0, 2.2, 6.6, 11]
    places = [5 * pixel / 11 for pixel in range(12)]
    expected = [six[int(p)] + (p - int(p)) * (six[min(int(p) + 1, 5)] - six[int(p)]) for p in places]
    assert expected[5:8] == pytest.approx([0.6, 1.6, 3.0])
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    in_one_step = nn.functional.interpolate(sides[2], (1, 12), mode="bilinear", align_corners=True)[0, 0, 0]
    assert in_one_step[5:8].tolist() == pytest.approx([0, 1, 3], abs=1e-5)


def test_axes_of_stride_one_stay_until_their_level_and_3d_is_trilinear():
    """Strides (1, 2, 2) and then (2, 2, 1): each axis doubles where its level does."""
    sides = [torch.zeros(1, 2, *size) for size in ((4, 8, 4), (4, 4, 2), (2, 2, 2))]
    ramps = torch.meshgrid(torch.tensor([0.0, 9]), torch.tensor([0.0, 70]), torch.tensor([0.0, 300]), indexing="ij")
    sides[2][:] = sum(ramps)
    found = resized_to_the_image(sides, (4, 8, 4))
    assert [tuple(logits.shape[2:]) for logits in found] == [(4, 8, 4)] * 3
    expected = torch.meshgrid(3 * torch.arange(4.0), 10 * torch.arange(8.0), 100 * torch.arange(4.0), indexing="ij")
    assert_close(found[2][0, 1], sum(expected), rtol=0, atol=1e-3)  # a ramp stays one, however often it is resized


@pytest.mark.parametrize(("channels", "at_full_size"), [(5, None), (2, False)])
def test_else_targets_are_resized_to_the_heads_and_the_bottleneck_to_the_level_above(channels, at_full_size):
    watched = Watched()
    given = output(1, channels)
    target = torch.arange(32).view(1, 1, 8, 4)
    LeFeDLoss(watched, regions=False, side_at_full_size=at_full_size)(given, LeFeDStep(target))
    at_heads = watched.asked[2:]
    assert [tuple(logits.shape[2:]) for logits, _ in at_heads] == [(8, 4), (4, 2), (4, 2)]
    assert torch.equal(at_heads[1][0], given.side[1])
    # what nnU-Net's transform takes at half the size: the later of each two
    assert at_heads[1][1].squeeze().tolist() == [[5, 7], [13, 15], [21, 23], [29, 31]]
    assert at_heads[1][1].dtype == target.dtype


def test_targets_are_resized_as_nnunet_does_for_deep_supervision():
    from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform

    watched = Watched()
    target = torch.randint(0, 3, (2, 1, 8, 4), dtype=torch.int16)
    LeFeDLoss(watched, regions=False, side_at_full_size=False)(output(2), LeFeDStep(target))
    for sample in range(2):
        theirs = DownsampleSegForDSTransform([[1, 1], [0.5, 0.5]])(segmentation=target[sample])["segmentation"]
        for (_, truth), expected in zip(watched.asked[2:4], theirs, strict=True):
            assert torch.equal(truth[sample], expected)


def test_regions_keep_their_bool_targets():
    options = {"batch_dice": False, "do_bg": True, "smooth": 1e-5, "ddp": False}
    stock = DC_and_BCE_loss({}, options, dice_class=MemoryEfficientSoftDiceLoss)
    given = output(2, 3, random=False)
    target = torch.rand(1, 3, 8, 4) < 0.5
    for full in (True, False):
        loss = LeFeDLoss(stock, regions=True, side_at_full_size=full)
        step = LeFeDStep(target)
        loss(given, step).backward()
        assert step.parts["supervised_loss"].item() == pytest.approx(2 * stock(given.first[:1], target).item())
    assert given.side[2].grad.abs().sum() > 0


def test_with_a_plain_target_the_loss_is_the_supervised_one():
    loss = LeFeDLoss(dice_and_ce(), regions=False)
    logits, target = torch.randn(2, 3, 8, 4), torch.randint(0, 3, (2, 1, 8, 4))
    assert torch.equal(loss(logits, target), dice_and_ce()(logits, target))


def test_squared_dice_by_hand():
    """Two samples of one pixel each, foreground 0.75 where it is and 0.5 where it is not:
    1 - (2 x 0.75 + s) / (0.75^2 + 0.5^2 + 1 + s)."""
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]]).view(2, 2, 1, 1)
    target = torch.tensor([1, 0]).view(2, 1, 1, 1)
    expected = 1 - (1.5 + 1e-5) / (0.5625 + 0.25 + 1 + 1e-5)
    assert SquaredDice(regions=False)(logits, target).item() == pytest.approx(expected)
    of_regions = SquaredDice(regions=True)(logits[:, 1:], target.bool())
    assert of_regions.item() == pytest.approx(expected)


def test_squared_dice_averages_the_foreground_classes():
    """Class 1 found with certainty costs 0; class 2, there and never found, costs 1."""
    logits = torch.tensor([[-99.0, 99, -99], [99, -99, -99]]).T.reshape(1, 3, 2, 1)
    target = torch.tensor([1, 2]).view(1, 1, 2, 1)
    assert SquaredDice(regions=False)(logits, target).item() == pytest.approx(0.5, abs=1e-4)


def test_squared_dice_leaves_ignored_voxels_out():
    logits, target = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 1, 4, 4))
    expected = SquaredDice(regions=False)(logits[..., :3], target[..., :3])
    target[..., 3] = 3
    assert_close(SquaredDice(regions=False, ignore_label=3)(logits, target), expected)
    regions = torch.rand(2, 4, 4, 4) < 0.5
    regions[:, 3] = False
    expected = SquaredDice(regions=True)(logits[..., :3], regions[..., :3])
    regions[:, 3, :, 3] = True
    assert_close(SquaredDice(regions=True, ignore_label=3)(logits, regions), expected)


def test_squared_dice_without_any_annotated_voxel_is_nothing():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = SquaredDice(regions=False, ignore_label=3)(logits, torch.full((1, 1, 4, 4), 3))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().sum() == 0


@pytest.mark.parametrize("regions", [False, True])
def test_gradients_in_double_precision(regions):
    target = torch.rand(1, 2, 4, 4) < 0.5 if regions else torch.randint(0, 2, (1, 1, 4, 4))
    loss = SquaredDice(regions=regions)

    def of(logits: Tensor) -> Tensor:
        return loss(logits, target)

    logits = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    # probabilities are float32, so the numeric derivative is coarse
    assert torch.autograd.gradcheck(of, logits, eps=1e-2, atol=1e-3)
