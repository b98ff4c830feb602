"""What is filled in, voxel by voxel."""

from __future__ import annotations

import pytest
import torch
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform

from nnunet_ext.strategies.filled_background import at_scales, filled_labels, filled_regions

IGNORE = 4
# labels here: 1 liver, 2 spleen, 3 tumour; outputs of the source: background, spleen, liver, heart
PLACES = [0, 2, 1, None]


def says(*classes: int) -> torch.Tensor:
    """Logits (1, 4, 1, N) whose argmax is one of the source's outputs in each voxel."""
    return 5 * torch.nn.functional.one_hot(torch.tensor(classes), 4).float().T[None, :, None]


def whether(*names: int, samples: int = 1) -> torch.Tensor:
    found = torch.zeros((samples, 4), dtype=torch.bool)
    found[:, list(names)] = True
    return found


@pytest.mark.parametrize(
    ("label", "said", "expected"),
    [
        (0, 0, 0),
        (0, 1, 2),  # spleen
        (0, 2, 1),  # liver
        (0, 3, 0),  # heart, which the labels do not have
        (3, 2, 3),  # an annotated tumour in the liver
        (1, 1, 1),
        (IGNORE, 2, IGNORE),
    ],
)
def test_background_alone_is_filled(label, said, expected):
    labels = torch.tensor([[[[label]]]], dtype=torch.int16)
    filled = filled_labels(labels, says(said), PLACES, whether(1, 2))
    assert filled.tolist() == [[[[expected]]]]
    assert filled.dtype == torch.int16
    assert labels.item() == label


def test_what_was_annotated_is_not_filled():
    """Where the source says spleen, and somebody annotated spleen, its absence is the annotator's word."""
    assert filled_labels(torch.zeros(1, 1, 1, 2), says(1, 2), PLACES, whether(1)).tolist() == [[[[0, 1]]]]
    marked = whether(0, 1, 2)  # background is no class
    assert filled_labels(torch.zeros(1, 1, 1, 1), says(3), PLACES, marked).tolist() == [[[[0]]]]


def test_each_sample_has_classes_of_its_own():
    labels, logits = torch.zeros(2, 1, 1, 2), says(1, 2).repeat(2, 1, 1, 1)
    unannotated = torch.cat((whether(1), whether(2)))
    assert filled_labels(labels, logits, PLACES, unannotated).tolist() == [[[[0, 1]]], [[[2, 0]]]]


@pytest.mark.parametrize("kind", [torch.bool, torch.int16])
def test_regions(kind):
    """Channels organ, wall, tumour and ignored; the source knows tumour, heart and organ."""
    regions = torch.tensor([[0, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])[None, :, None].to(kind)
    logits = torch.tensor([[9.0, 9, 9, 9], [9, 9, 9, 9], [9, -9, 0, 9]])[None, :, None]
    unannotated = torch.tensor([[True, True, False]])
    filled = filled_regions(regions, logits, [2, None, 0], unannotated)
    assert filled[0, :, 0].int().tolist() == [[1, 1, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert filled.dtype == kind
    assert regions[0, 0, 0].int().tolist() == [0, 1, 0, 0]


def test_regions_of_several_samples():
    logits = torch.ones(2, 1, 1, 2)
    filled = filled_regions(torch.zeros(2, 2, 1, 2), logits, [1], torch.tensor([[False, False], [False, True]]))
    assert filled.tolist() == [[[[0, 0]], [[0, 0]]], [[[0, 0]], [[1, 1]]]]


@pytest.mark.parametrize("shape", [(9, 12, 10), (11, 8)])
@pytest.mark.parametrize("kind", [torch.int16, torch.bool])
def test_scales_are_those_of_the_loader(shape, kind):
    factors = [(1.0,) * len(shape), (1.0, *(0.5,) * (len(shape) - 1)), (0.5, *(0.25,) * (len(shape) - 1))]
    full = torch.randint(0, 2 if kind == torch.bool else 5, (3, 2, *shape)).to(kind)
    stock = DownsampleSegForDSTransform(factors)
    expected = [
        torch.stack(each) for each in zip(*(stock(segmentation=one)["segmentation"] for one in full), strict=True)
    ]
    found = at_scales(full, [torch.zeros_like(scale) for scale in expected])
    assert len(found) == 3
    assert all(torch.equal(one, other) and one.dtype == kind for one, other in zip(found, expected, strict=True))
