"""What the network sees and the loss, by hand."""

from __future__ import annotations

import pytest
import torch

from nnunet_ext.semi_supervised.masked.hidden_patch import HiddenPatch, masked_error

HIDDEN = torch.tensor([[[False, False, True, True]]])
IMAGES = torch.tensor([[[1.0, 2, 3, 4]]])
INSIDE = torch.ones_like(HIDDEN)


def patch(images=IMAGES, hidden=HIDDEN, inside=INSIDE) -> HiddenPatch:
    return HiddenPatch(images, hidden, inside)


def test_the_mean_over_hidden_voxels():
    assert float(masked_error(torch.zeros(1, 1, 4), patch())) == (9 + 16) / 2
    seen_differs = torch.tensor([[[50.0, -50, 0, 0]]])
    assert float(masked_error(seen_differs, patch())) == 12.5


def test_a_second_channel_does_not_double_it():
    two = torch.cat((IMAGES, IMAGES), 1)
    assert float(masked_error(torch.zeros(1, 2, 4), patch(two))) == 12.5
    both = torch.cat((HIDDEN, ~HIDDEN), 1)  # each channel its own
    assert float(masked_error(torch.zeros(1, 2, 4), patch(two, both))) == (9 + 16 + 1 + 4) / 4


def test_voxels_outside_the_image_do_not_count():
    outside = torch.tensor([[[True, True, True, False]]])
    assert float(masked_error(torch.zeros(1, 1, 4), patch(inside=outside))) == 9


def test_the_mean_over_samples_does_not_depend_on_how_a_batch_is_shared():
    images, hidden = torch.cat((IMAGES, IMAGES)), torch.cat((HIDDEN, torch.tensor([[[True, False, False, False]]])))
    inside = torch.ones_like(hidden)
    parts = [masked_error(torch.zeros(1, 1, 4), patch(images[[n]], hidden[[n]], inside[[n]])) for n in (0, 1)]
    assert [float(part) for part in parts] == [12.5, 1.0]
    assert float(masked_error(torch.zeros(2, 1, 4), patch(images, hidden, inside))) == 6.75


def test_nothing_to_restore_is_no_loss_but_has_gradients():
    outputs = [torch.ones(1, 1, 4, requires_grad=True), torch.ones(1, 1, 2, requires_grad=True)]
    loss = masked_error(outputs, patch(inside=~HIDDEN))
    loss.backward()
    assert loss.item() == 0
    assert all(torch.equal(output.grad, torch.zeros_like(output)) for output in outputs)


def test_full_resolution_counts_and_all_outputs_have_a_gradient():
    outputs = [torch.zeros(1, 1, 4, requires_grad=True), torch.ones(1, 1, 2, requires_grad=True)]
    masked_error(outputs, patch()).backward()
    assert outputs[0].grad.flatten().tolist() == [0, 0, -3, -4]  # 2 (0 - x) / 2
    assert outputs[1].grad.flatten().tolist() == [0, 0]


def test_half_precision_does_not_overflow():
    outputs = [torch.full((1, 1, size), 300.0).half() for size in (4, 4096)]
    loss = masked_error(outputs, patch())  # neither 300^2 nor 4096 x 300 is a half
    assert float(loss) == (297**2 + 296**2) / 2


def test_a_constant_in_the_place_of_hidden_voxels():
    assert patch().input([True]).flatten().tolist() == [1, 2, 0, 0]
    assert patch().input([False]).flatten().tolist() == [1, 2, 1.5, 1.5]  # the mean of what is seen
    padded = torch.tensor([[[False, True, True, True]]])
    assert patch(inside=padded).input([False]).flatten().tolist() == [1, 2, 2, 2]  # in the image
    nothing = torch.zeros_like(INSIDE)
    assert patch(inside=nothing).input([False]).flatten().tolist() == [1, 2, 0, 0]
    two = torch.cat((IMAGES, 10 * IMAGES), 1)
    assert patch(two).input([True, False])[0].tolist() == [[1, 2, 0, 0], [10, 20, 15, 15]]


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_input_holds_no_hidden_voxel(zero, channels):
    torch.manual_seed(0)
    images, hidden = torch.randn(2, 2, 6, 6), torch.rand(2, channels, 6, 6) > 0.4
    inside = torch.rand(2, 1, 6, 6) > 0.2
    others = torch.where(hidden, 1e3 * torch.randn(2, 2, 6, 6), images)
    first, second = (HiddenPatch(each, hidden, inside).input([zero, not zero]) for each in (images, others))
    assert torch.equal(first, second)
    visible = ~hidden.expand_as(images)
    assert torch.equal(first[visible], images[visible])
