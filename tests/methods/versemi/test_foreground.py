"""Foreground of tasks, by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from nnunet_ext.methods.versemi.foreground import TaskLabels, aggregated, foregrounds, found_by_others


def test_of_classes_it_is_what_the_background_leaves_and_of_regions_the_largest():
    classes = torch.tensor([0.5, 0.2, 0.3]).log()
    regions = torch.tensor([0.1, 0.6]).logit()
    logits = torch.cat((classes, regions)).view(1, 5, 1, 1, 1).expand(2, 5, 2, 2, 2)
    found = foregrounds(logits, [TaskLabels(3), TaskLabels(2, regions=True)])
    assert found.shape == (2, 2, 2, 2, 2)
    assert found[0, :, 0, 0, 0].tolist() == pytest.approx([0.5, 0.6])


def two_tasks() -> Tensor:
    return torch.tensor([0.2, 0.7]).view(1, 2, 1, 1, 1).expand(1, 2, 2, 2, 2)


@pytest.mark.parametrize(("how", "value"), [("max", 0.7), ("noisy_or", 0.76)])
def test_tasks_together(how, value):
    found = aggregated(two_tasks(), how)
    assert found.shape == (1, 1, 2, 2, 2)
    assert found.unique().tolist() == pytest.approx([value])


@pytest.mark.parametrize("how", ["max", "noisy_or"])
def test_the_order_of_tasks_does_not_matter(how):
    q = torch.rand(2, 3, 2, 2, 2)
    for order in itertools.permutations(range(3)):
        torch.testing.assert_close(aggregated(q[:, list(order)], how), aggregated(q, how))


def test_labels_regions_and_what_is_ignored():
    labels = torch.tensor([0, 1, 2, 3]).view(1, 1, 1, 1, 4)
    foreground, annotated = TaskLabels(3, ignore_label=3).foreground(labels)
    assert foreground.flatten().tolist() == [False, True, True, False]
    assert annotated.flatten().tolist() == [True, True, True, False]
    regions = torch.tensor([[0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]).view(1, 3, 1, 1, 4)
    foreground, annotated = TaskLabels(2, regions=True).foreground(regions)
    assert foreground.flatten().tolist() == [False, True, True, False]
    assert annotated.flatten().tolist() == [True, True, True, False]
    foreground, annotated = TaskLabels(2, regions=True).foreground(regions[:, :2])
    assert foreground.flatten().tolist() == [False, True, True, True]
    assert annotated.all()


def test_only_tasks_that_are_not_annotated_hide_a_voxel():
    assert not found_by_others(two_tasks(), torch.tensor([1]), 0.5).any()  # the annotated one finds it
    assert found_by_others(two_tasks(), torch.tensor([0]), 0.5).all()
    assert not found_by_others(two_tasks(), torch.tensor([0]), 0.7).any()  # exceeded, not reached


def test_masks_of_samples_against_a_loop():
    q, annotated = torch.rand(3, 4, 2, 3, 2), torch.tensor([2, 0, 3])
    found = found_by_others(q, annotated, 0.6)
    assert found.shape == (3, 1, 2, 3, 2)
    for sample, task in enumerate(annotated.tolist()):
        for place in itertools.product(range(2), range(3), range(2)):
            others = [float(q[sample, other][place]) for other in range(4) if other != task]
            assert bool(found[sample, 0][place]) is (max(others) > 0.6)
