"""Numbers in sentences."""

import pytest

from nnunet_ext.quality.wording import amount, few, of_cases, span


@pytest.mark.parametrize(
    ("value", "text"), [(0.01234, "0.0123"), (12.34, "12.3"), (1234.5, "1234"), (-1024.4, "-1024"), (0, "0")]
)
def test_three_digits(value, text):
    assert amount(value) == text


def test_the_range_of_values():
    assert span([240.2, 95.1], "ml") == "95.1 to 240 ml"
    assert span([1, 1.0001]) == "1"


def test_few_and_of_cases():
    assert few(5) == ""
    assert few(4) == " (only 4 training cases to compare with)"
    assert few(1) == " (only 1 training case to compare with)"
    assert of_cases(0, 20) == "in none of 20 training cases"
    assert of_cases(1, 1) == "in only 1 of 1 training case"
