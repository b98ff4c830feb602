"""Which cases are nearest: literals, ties, places of crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from torch import nn

from nnunet_ext.methods.sequential_fine_tuning.buffer import Cases
from nnunet_ext.methods.sequential_fine_tuning.similarity import FeatureDistance, ranked


def test_the_sheets_literal() -> None:
    """Means 2, 2, 3; of equal means the name decides, in whatever order the cases come."""
    assert ranked({"1": [2, 2], "0": [1, 3], "2": [5, 1]}) == [("0", 2.0), ("1", 2.0), ("2", 3.0)]


class Seen(nn.Module):
    """An encoder whose bottleneck is the image, and which remembers the images."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[torch.Tensor] = []

    def encoder(self, images: torch.Tensor) -> list[torch.Tensor]:
        self.images.append(images)
        return [images * 0, images]


def cases(place: Path, **images: np.ndarray) -> Cases:
    place.mkdir()
    for name, image in images.items():
        labels = np.zeros((1, *image.shape[1:]), np.int16)
        nnUNetDatasetBlosc2.save_case(image.astype(np.float32), labels, {}, str(place / name))
    return Cases(place, tuple(images))


def flat(*values: float, size: int = 4) -> np.ndarray:
    return np.stack([np.full((size, size, size), value) for value in values])


def test_distance_by_hand(tmp_path: Path) -> None:
    """The reference's mean is (1, 2): (4, 6) is 5 away from it, (1, 0) is 2."""
    reference = cases(tmp_path / "reference", p=flat(0, 2), q=flat(2, 2))
    distance = FeatureDistance(Seen(), (2, 2, 2), draws=3, seed=0)
    with pytest.raises(ValueError, match="call fit first"):
        distance.of(reference)
    distance.fit(reference)
    found = distance.of(cases(tmp_path / "cases", far=flat(4, 6), near=flat(1, 0)))
    assert found == {"far": pytest.approx([5, 5, 5]), "near": pytest.approx([2, 2, 2])}


def test_crops_are_inside_and_at_the_same_places_for_all(tmp_path: Path) -> None:
    """Values count the voxels along the first axis."""
    image = np.broadcast_to(np.arange(9.0)[None, :, None, None], (1, 9, 3, 3))
    network = Seen()
    distance = FeatureDistance(network, (4, 4, 2), draws=40, seed=1)
    distance.fit(cases(tmp_path / "reference", a=image, b=image))
    first, second = network.images[:40], network.images[40:]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert {tuple(each.shape) for each in first} == {(1, 1, 4, 4, 2)}
    starts = {int(each[0, 0, :, 0, 0].min()) for each in first}
    assert starts == {0, 1, 2, 3, 4, 5}
    assert all(not each[0, 0, :, 3].any() for each in first)  # filled up with 0


def test_slices_of_a_2d_network(tmp_path: Path) -> None:
    network = Seen()
    FeatureDistance(network, (2, 2), draws=30, seed=0).fit(
        cases(tmp_path / "reference", a=np.broadcast_to(np.arange(3.0)[None, :, None, None], (1, 3, 4, 4)))
    )
    assert {tuple(each.shape) for each in network.images} == {(1, 1, 2, 2)}
    assert {float(each.mean()) for each in network.images} == {0.0, 1.0, 2.0}
