"""The temperature, by data drawn with a known one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from nnunet_ext.labels.suspects.label_pair import LabelPair
from nnunet_ext.labels.suspects.temperature import Sample, confidence, fit_temperature, sample
from nnunet_ext.quality.grid import Grid

ORGAN = {"labels": {"background": 0, "organ": 1}}
NESTED = {"labels": {"background": 0, "organ": [1, 2], "tumour": [2]}, "regions_class_order": [1, 2]}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_it_is_found_again(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (20_000, 3))
    truths = np.array([rng.choice(3, p=row) for row in softmax(logits / temperature, 1)])
    assert fit_temperature([Sample(logits.astype(np.float32), truths)]) == pytest.approx(temperature, rel=0.05)


def test_of_regions():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (20_000, 2))
    truths = (rng.random(logits.shape) < expit(logits / 2)).astype(np.int64)
    assert fit_temperature([Sample(logits.astype(np.float32), truths)]) == pytest.approx(2.0, rel=0.05)


def test_confidence_is_that_of_the_predicted_label():
    chances = np.array([[0.1, 0.5], [0.9, 0.3], [0.0, 0.2]])
    assert confidence(chances, 1.0, regions=False) == pytest.approx([0.9, 0.5], abs=1e-3)
    # at temperature 2, square roots
    assert confidence(chances[:, :1], 2.0, regions=False) == pytest.approx([3 / (3 + 1 + 1e-3 * 10**0.5)], abs=1e-2)


def test_the_least_sure_region_counts():
    chances = np.array([[0.9, 0.99], [0.2, 0.4]])
    assert confidence(chances, 1.0, regions=True) == pytest.approx([0.8, 0.6], abs=1e-3)


def pair_of(labels, chances, description, counts=None, unknown=()):
    labels = np.asarray(labels, np.int32).reshape(1, 1, -1)
    counts = np.ones(labels.shape, bool) if counts is None else np.reshape(counts, labels.shape)
    chances = None if chances is None else np.reshape(chances, (len(chances), *labels.shape))
    grid = Grid(labels.shape, (1.0, 1.0, 1.0))
    return LabelPair.of(labels, labels, counts, grid, description=description, chances=chances, unknown=unknown)


def test_the_voxels_of_a_case():
    found = sample(pair_of([0, 1, 1], [[0.9, 0.2, 0.5], [0.1, 0.8, 0.5]], ORGAN, counts=[True, True, False]))
    assert found.truths.tolist() == [0, 1]
    assert np.exp(found.logits) == pytest.approx(np.array([[0.9, 0.1], [0.2, 0.8]]))


def test_the_voxels_of_regions():
    found = sample(pair_of([0, 1, 2], [[0.1, 0.9, 0.9], [0.1, 0.1, 0.9]], NESTED))
    assert found.truths.tolist() == [[0, 0], [1, 0], [1, 1]]


def test_cases_that_say_nothing():
    assert sample(pair_of([0, 1], None, ORGAN)) is None
    assert sample(pair_of([0, 1], [[0.9, 0.1], [0.1, 0.9]], ORGAN, unknown=["organ"])) is None
