"""z-scores against numbers worked out by hand and by SciPy's distributions."""

import math

import numpy as np
import pytest
from scipy import stats

from nnunet_ext.quality.robust_z import robust_z


def test_distance_in_deviations_with_the_probability_of_students_t():
    training = [*range(11), 1000.0]  # median 5.5; absolute deviations 0.5 to 5.5, and 994.5: their median is 3
    steps = (1500 - 5.5) / (1.4826 * 3 * math.sqrt(1 + 1 / 12))
    expected = stats.norm.isf(stats.t.sf(steps, 11))
    assert 7 < expected < 30
    assert robust_z(1500.0, training, 0.01) == pytest.approx(expected)
    assert robust_z(11 - 1500.0, training, 0.01) == pytest.approx(expected)
    assert robust_z(1500.0, training, 1000.0) == pytest.approx(
        stats.norm.isf(stats.t.sf(1.4945 / math.sqrt(1 + 1 / 12), 11))
    )


def test_a_deviation_that_is_small_by_chance():
    training = [0.0, *[4.9] * 3, 5.0, *[5.1] * 3, 10.0]  # percentiles 10 and 90 are 3.92 and 6.08
    steps = 10 / (2.16 / 2.563 * math.sqrt(1 + 1 / 9))
    assert robust_z(15.0, training, 0.01) == pytest.approx(stats.norm.isf(stats.t.sf(steps, 8)), rel=1e-3)


def test_what_the_training_cases_have_is_not_unusual():
    assert robust_z(99.0, [1.0, 2.0, 3.0, 4.0, 100.0], 0.01) == 0.0
    assert robust_z(100.0, [1.0, 2.0, 3.0, 4.0, 100.0], 0.01) == 0.0
    assert robust_z(1e6, [1.0], 0.01) == 0.0
    assert robust_z(1e6, [], 0.01) == 0.0


def test_few_training_cases_say_less_and_a_score_is_finite():
    few, many = np.linspace(0, 1, 3).tolist(), np.linspace(0, 1, 200).tolist()
    assert 1 < robust_z(4.0, few, 0.1) < 2 < robust_z(4.0, many, 0.1) < 10
    assert robust_z(1e9, many, 0.1) == 40.0
