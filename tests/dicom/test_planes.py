"""Slices become a grid only if they are one: each way in which they are not has its line."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_series import AXIAL, OBLIQUE, ORIENTATIONS, affine_of

from nnunet_ext.dicom.planes import Planes
from nnunet_ext.errors import UserError

SPACING, ORIGIN = (2.5, 1.25, 0.75), (-31.5, 12.25, 107.0)


def planes(directions=AXIAL, count=8, order=None, **changes) -> Planes:
    """Slices on a grid, in a shuffled order, with these entries replaced (before shuffling)."""
    affine = affine_of(directions, SPACING, ORIGIN)
    places = np.arange(count)
    entries = {
        "names": [f"s{place}" for place in places],
        "sizes": np.tile([16, 12], (count, 1)),
        "spacings": np.tile(SPACING[1:], (count, 1)),
        "orientations": np.tile(np.ravel(directions).astype(float), (count, 1)),
        "positions": affine[:3, 3] + np.outer(places, affine[:3, 0]),
    }
    for name, change in changes.items():
        entries[name] = change(entries[name].copy())
    order = np.random.default_rng(0).permutation(count) if order is None else order
    shuffled = {name: np.asarray(values)[order] for name, values in entries.items()}
    return Planes("here", list(shuffled.pop("names")), **shuffled)


def refused(**changes) -> str:
    with pytest.raises(UserError) as caught:
        planes(**changes).grid("1.2")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_the_grid(name):
    made = planes(ORIENTATIONS[name])
    order, geometry = made.grid("1.2.3")
    assert [made.names[place] for place in order] == [f"s{place}" for place in range(8)]
    np.testing.assert_allclose(geometry.affine, affine_of(ORIENTATIONS[name], SPACING, ORIGIN), atol=1e-12)
    assert geometry.spatial_shape == (8, 16, 12)
    assert geometry.frame_of_reference_uid == "1.2.3"


def test_rounded_places_are_taken():
    """To 0.1 mm, with slices 0.7 mm apart, and on the mean of all steps."""
    heights = np.round(np.arange(9) * 0.7, 1) + np.array([0, 0.06, -0.06, 0.06, 0, -0.06, 0.06, 0, 0.0])
    made = planes(count=9, positions=lambda values: values * [1, 1, 0] + np.outer(heights, [0, 0, 1]))
    assert made.grid("1")[1].spacing[0] == pytest.approx(0.7)


def test_one_slice():
    assert refused(count=1) == (
        "here: expected the slices of a volume, found one slice, as in a localizer. Choose another series."
    )


@pytest.mark.parametrize(
    ("entry", "value", "text"),
    [
        ("sizes", [16, 13], "found rows and columns (16, 12) in s6 and (16, 13) in s3. Leave only"),
        ("spacings", [1.25, 0.76], "found mm between rows and columns (1.25, 0.75) in s6 and (1.25, 0.76) in s3."),
        (
            "orientations",
            [1, 0, 0, 0, 0.8, 0.6],
            "found direction cosines (1, 0, 0, 0, 1, 0) in s6 and (1, 0, 0, 0, 0.",
        ),
    ],
)
def test_mixed_slices(entry, value, text):
    def change(values):
        values = values.astype(float)
        values[3] = value
        return values

    message = refused(order=[6, 5, 4, 3, 2, 1, 0, 7], **{entry: change})
    assert message.startswith("here: expected slices of one size, spacing and orientation, found ")
    assert text in message


def test_directions_that_differ_by_rounding_are_one():
    def change(values):
        values[3:] += 5e-5
        return values

    assert planes(OBLIQUE, orientations=change).grid("1")[1].spatial_shape == (8, 16, 12)


def test_directions_with_three_decimals():
    """The voxels stay cubes; the object is not sheared or scaled by rounding."""
    made = planes(OBLIQUE, orientations=lambda values: np.round(values, 3))
    geometry = made.grid("1")[1]
    np.testing.assert_allclose(geometry.spacing, SPACING, rtol=1e-3)
    np.testing.assert_allclose(geometry.spacing[1:], SPACING[1:], rtol=1e-12)
    np.testing.assert_allclose(geometry.direction.T @ geometry.direction, np.eye(3), atol=1e-12)
    along = (made.positions[:, None] - made.positions).reshape(-1, 3) @ geometry.direction[:, 0]
    assert geometry.spacing[0] == pytest.approx(along.max() / 7, rel=1e-12)


@pytest.mark.parametrize(
    "wrong", [[1, 0, 0, 0.1, 1, 0], [1, 0, 0, 0.01, 0.99995, 0], [1, 0, 0, 0, 0.9, 0], [0.9, 0, 0, 0, 1, 0], [0] * 6]
)
def test_directions_that_are_none(wrong):
    message = refused(orientations=lambda values: np.tile(np.asarray(wrong, float), (8, 1)))
    assert "expected ImageOrientationPatient of two unit vectors at right angles, found (" in message


def test_duplicate_slices():
    def change(values):
        values[4] = values[3]
        values[7] = values[3]
        return values

    message = refused(positions=change, order=range(8))
    assert "expected one slice in each place, found 2 in the place of another, such as s3 and s4. Remove" in message


def test_all_slices_twice():
    message = refused(positions=lambda values: values[np.arange(8) // 2], order=range(8))
    assert "found 4 in the place of another, such as s0 and s1. Remove copies; put echoes or time points" in message


def test_a_gap():
    def change(values):
        values[5:, 2] += 2 * 2.5
        return values

    assert refused(positions=change) == (
        "here: expected slices without gaps, found 2 missing, the first between s4 and s5 (7.5 mm apart instead of "
        "2.5). Export the whole series again."
    )


def test_uneven_spacing():
    def change(values):
        values[4:, 2] += 0.9
        return values

    assert refused(positions=change) == (
        "here: expected evenly spaced slices, found 2.5 to 3.4 mm from one to the next. Resample the series to an even "
        "grid, or export a reconstruction without this."
    )


def test_one_step_that_is_no_gap():
    def change(values):
        values[4:, 2] += 1.5
        return values

    assert "expected evenly spaced slices, found 2.5 to 4 mm" in refused(positions=change)


def test_thick_slices_below_thin_ones_are_no_gaps():
    def change(values):
        values[:, 2] = [0, 5, 10, 15, 16, 17, 18, 19]
        return values

    assert "expected evenly spaced slices, found 1 to 5 mm" in refused(positions=change)


@pytest.mark.parametrize("directions", [AXIAL, OBLIQUE])
def test_gantry_tilt(directions):
    """Rows move along the columns' direction from slice to slice."""

    def change(values):
        aside = np.arange(8)[:, None] * 2.5 * np.tan(np.deg2rad(12)) * np.asarray(directions[1])
        return values + aside

    message = refused(directions=directions, positions=change, order=range(8))
    assert message.startswith("here: expected slices straight above each other, found s7 3.72 mm aside, as with a ")
    assert "gantry tilted by 12 degrees. Resample" in message


def test_a_tilt_of_less_than_a_tenth_of_a_pixel():
    def change(values):
        values[:, 1] += np.linspace(0, 0.07, 8)
        return values

    assert planes(positions=change).grid("1")[0].shape == (8,)

    def more(values):
        values[:, 1] += np.linspace(0, 0.08, 8)
        return values

    assert "0.08 mm aside" in refused(positions=more)
