"""Channels are series of one grid."""

from __future__ import annotations

import pytest
from dicom_series import OBLIQUE, asymmetric, write_series

from nnunet_ext.dicom.channels import read_channels
from nnunet_ext.errors import UserError

SMALL = asymmetric()[:4, :6, :5]
SHARED = {"study": "1.2.1", "frame_of_reference": "1.2.2", "directions": OBLIQUE}


def refused(tmp_path, image=SMALL, **changes) -> str:
    one = write_series(tmp_path / "one", SMALL, SeriesInstanceUID="1.2.10", **SHARED)
    two = write_series(tmp_path / "two", image, SeriesInstanceUID="1.2.9", **(SHARED | changes))
    with pytest.raises(UserError) as caught:
        read_channels([*one, *two])
    start = f"{tmp_path / 'two'}, series 1.2.9: expected the grid of voxels of series 1.2.10, found "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


def test_the_order_is_that_of_the_first_files(tmp_path):
    one = write_series(tmp_path / "one", SMALL, SeriesInstanceUID="1.2.10", **SHARED)
    two = write_series(tmp_path / "two", SMALL, SeriesInstanceUID="1.2.9", modality="MR", **SHARED)
    channels = read_channels([*sorted(two), *sorted(one)])
    assert [series.uid for series in channels] == ["1.2.9", "1.2.10"]
    assert [series.files for series in channels] == [tuple(two), tuple(one)]


def test_another_study(tmp_path):
    assert refused(tmp_path, study="1.2.7") == "another study, 1.2.7 instead of 1.2.1. Give series of one study."


def test_another_patient(tmp_path):
    assert refused(tmp_path, PatientID="id 8") == "another PatientID. Give series of one patient."


REGISTER = "Resample one onto the other, and predict the images as NIfTI files with -i."


def test_another_frame_of_reference(tmp_path):
    assert refused(tmp_path, frame_of_reference="1.2.7") == f"another frame of reference. {REGISTER}"


def test_another_shape(tmp_path):
    message = refused(tmp_path, image=asymmetric()[:3, :6, :5])
    assert message == f"the shape (3, 6, 5) instead of (4, 6, 5). {REGISTER}"


def test_another_place(tmp_path):
    assert refused(tmp_path, origin=(-31.5, 12.25, 107.4)) == f"voxels up to 0.4 mm apart. {REGISTER}"


def test_another_spacing_and_direction(tmp_path):
    """They differ most far from the first voxel."""
    assert refused(tmp_path, spacing=(2.6, 1.25, 0.75)) == f"voxels up to 0.3 mm apart. {REGISTER}"


def test_a_difference_that_is_none(tmp_path):
    one = write_series(tmp_path / "one", SMALL, **SHARED)
    two = write_series(tmp_path / "two", SMALL, origin=(-31.5, 12.25, 107.07), **SHARED)
    assert len(read_channels([*one, *two])) == 2
