"""What a teacher's logits are taken for."""

from __future__ import annotations

import torch

from nnunet_ext.methods.bcp.pseudo_labels import pseudo_labels

LABELS = torch.tensor(
    [
        [1, 0, 0, 2, 0],
        [0, 1, 0, 0, 1],  # the first two touch at a corner
        [0, 0, 0, 2, 2],
    ]
)


def test_the_most_probable_label():
    logits = torch.nn.functional.one_hot(LABELS, 3).permute(2, 0, 1)[None].float() * 3
    assert torch.equal(pseudo_labels(logits, regions=False), LABELS[None, None])


def test_the_largest_component_of_each_label():
    logits = torch.nn.functional.one_hot(LABELS, 3).permute(2, 0, 1)[None].float().repeat(2, 1, 1, 1)
    logits[1] = logits[1, [0, 2, 1]]  # labels changed places
    found = pseudo_labels(logits, regions=False, largest_component=True)
    expected = torch.tensor([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 2, 2]])
    assert torch.equal(found[0, 0], expected)
    assert torch.equal(found[1, 0], expected * 2 % 3)


def test_regions_overlap():
    logits = torch.tensor([0.1, -0.1, 2.0, 0.0]).view(1, 1, 1, 4).repeat(1, 2, 1, 1)
    logits[0, 1] *= -1
    found = pseudo_labels(logits, regions=True)
    assert found.tolist() == [[[[True, False, True, False]], [[False, True, False, False]]]]
    kept = pseudo_labels(torch.tensor([1.0, -1, 1, 1]).view(1, 1, 1, 4), regions=True, largest_component=True)
    assert kept.tolist() == [[[[False, False, True, True]]]]


def test_nothing_found_has_no_component():
    assert not pseudo_labels(torch.full((1, 2, 2, 3), -1.0), regions=True, largest_component=True).any()
