"""Series in, segmentations out: known labels lie where the voxels are, in every direction."""

from __future__ import annotations

import logging
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK
from dicom_series import AXIAL, CORONAL, OBLIQUE, ORIENTATIONS, SAGITTAL, affine_of, asymmetric, write_series
from small_model import write_small_model
from threshold_model import write_threshold_model

from nnunet_ext.dicom.found_series import choose_series
from nnunet_ext.dicom.predictor import DicomPredictor, weights_digest
from nnunet_ext.errors import UserError
from nnunet_ext.prediction import Predictor

SPACING, ORIGIN = (2.5, 1.25, 0.75), (-31.5, 12.25, 107.0)
STORED = asymmetric()
EXPECTED = (STORED > 100).astype(int) + (STORED > 1500)
CUBES = (1.5, 1.5, 1.5)
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def predict(model: Path, *folders: Path, out: Path, uids=None, **options):
    series = choose_series(folders, uids, show_progress=False)
    quiet = {"show_progress": False, "read_ahead": False, "write_behind": False}
    return DicomPredictor(model, device="cpu").predict_series(series, out, **(quiet | options))


def points_of(file: Path, segment: int) -> np.ndarray:
    """Where the voxels of a segment are: LPS, mm, worked out from the file's own tags for each frame."""
    seg = highdicom.seg.segread(file)
    shared = seg.SharedFunctionalGroupsSequence[0]
    x, y = np.reshape(np.float64(shared.PlaneOrientationSequence[0].ImageOrientationPatient), (2, 3))
    rows, columns = np.float64(shared.PixelMeasuresSequence[0].PixelSpacing)
    points = []
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, np.atleast_3d(seg.pixel_array), strict=True):
        identification = (frame.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence)[0]
        if identification.ReferencedSegmentNumber == segment:
            corner = np.float64(frame.PlanePositionSequence[0].ImagePositionPatient)
            for row, column in np.argwhere(pixels):
                points.append(corner + row * rows * y + column * columns * x)
    return in_order(np.array(points))


def expected_points(mask: np.ndarray, directions, spacing=SPACING) -> np.ndarray:
    affine = affine_of(directions, spacing, ORIGIN)
    return in_order(np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3])


def in_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(np.round(points, 3).T)]


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_round_trip(tmp_path, name):
    model = write_threshold_model(tmp_path / "results")
    write_series(tmp_path / "s", STORED + np.int16(1024), directions=ORIENTATIONS[name], RescaleIntercept=-1024)
    (result,) = predict(model, tmp_path / "s", out=tmp_path / "out")
    assert result.problem is None
    for segment, mask in ((1, EXPECTED == 1), (2, EXPECTED == 2)):
        expected = expected_points(mask, ORIENTATIONS[name])
        np.testing.assert_allclose(points_of(result.file, segment), expected, atol=1e-5)
    seg = highdicom.seg.segread(result.file)
    grid = highdicom.VolumeGeometry(affine_of(ORIENTATIONS[name], SPACING, ORIGIN), STORED.shape, "PATIENT")
    np.testing.assert_array_equal(seg.get_volume(combine_segments=True).match_geometry(grid).array, EXPECTED)


def neighbours(mask: np.ndarray, directions, towards) -> np.ndarray:
    """The mask moved so that each voxel has the value of its neighbour towards a direction in LPS."""
    affine = affine_of(directions, CUBES, ORIGIN)
    step = np.rint(np.linalg.inv(affine[:3, :3]) @ (1.5 * np.asarray(towards))).astype(int)
    assert np.abs(step).sum() == 1
    moved = np.zeros_like(mask)
    places = np.argwhere(mask) - step
    inside = ((places >= 0) & (places < mask.shape)).all(axis=1)
    moved[tuple(places[inside].T)] = True
    return moved


@pytest.mark.parametrize(("orientation", "towards"), [("RAS", (-1, 0, 0)), ("LPS", (1, 0, 0)), ("SLA", (0, 0, 1))])
@pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, CORONAL])
def test_the_axes_that_the_model_was_trained_with(tmp_path, directions, orientation, towards):
    """The model looks at the neighbour along the array's last axis, X: that is known only with --orientation."""
    model = write_threshold_model(tmp_path / "results", (100.0,), labels={"background": 0, "a": 1},
                                  spacing=CUBES, neighbour=(0, 0, 1), patch_size=[6, 16, 16])  # fmt: skip
    write_series(tmp_path / "s", STORED, directions=directions, spacing=CUBES)
    (result,) = predict(model, tmp_path / "s", out=tmp_path / "out", orientation=orientation)
    assert result.problem is None
    expected = neighbours(STORED > 100, directions, towards)
    np.testing.assert_allclose(points_of(result.file, 1), expected_points(expected, directions, CUBES), atol=1e-5)


def test_a_reader_that_turns_images(tmp_path):
    model = write_threshold_model(tmp_path / "results", (100.0,), labels={"background": 0, "a": 1},
                                  spacing=CUBES, neighbour=(0, 0, 1), reader="SimpleITKIOWithReorient")  # fmt: skip
    write_series(tmp_path / "s", STORED, spacing=CUBES)
    (result,) = predict(model, tmp_path / "s", out=tmp_path / "out")
    expected = neighbours(STORED > 100, AXIAL, (-1, 0, 0))
    np.testing.assert_allclose(points_of(result.file, 1), expected_points(expected, AXIAL, CUBES), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("feet first", "SimpleITKIO"),
        ("sagittal", "SimpleITKIO"),
        ("oblique", "NibabelIO"),
        ("sagittal", "SimpleITKIOWithReorient"),
        ("oblique", "NibabelIOWithReorient"),
    ],
)
def test_the_labels_of_a_nifti_file(tmp_path, name, reader):
    """SimpleITK converts the series; the prediction of its file has the same labels, with resampling and all."""
    model = write_small_model(tmp_path / "results", reader=reader, axes=None)
    write_series(tmp_path / "s", STORED, directions=ORIENTATIONS[name])
    converter = SimpleITK.ImageSeriesReader()
    converter.SetFileNames(converter.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    image = converter.Execute()
    SimpleITK.WriteImage(image, str(tmp_path / "image.nii.gz"))
    Predictor(model, device="cpu").predict_files([tmp_path / "image.nii.gz"], tmp_path / "labels.nii.gz")
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "labels.nii.gz")))
    (result,) = predict(model, tmp_path / "s", out=tmp_path / "out")
    assert result.problem is None
    assert len(np.unique(labels)) > 2
    seg = highdicom.seg.segread(result.file)
    grid = highdicom.VolumeGeometry(affine_of(ORIENTATIONS[name], SPACING, ORIGIN), STORED.shape, "PATIENT")
    found = seg.get_volume(combine_segments=True).match_geometry(grid).array
    assert (found != labels).mean() < 2e-3  # the file's spacing is rounded to 32 bits


def test_channels(tmp_path):
    """The first minus the second."""
    model = write_threshold_model(tmp_path / "results", weights=(1.0, -1.0))
    shared = {"study": "1.2.1", "frame_of_reference": "1.2.2", "directions": OBLIQUE, "modality": "MR"}
    other = np.where(STORED > 1500, 900, 0).astype(np.int16)
    other[:3], other[:, :, -3:] = 0, -300
    write_series(tmp_path / "a", STORED, SeriesInstanceUID="1.2.20", **shared)
    write_series(tmp_path / "b", other, SeriesInstanceUID="1.2.10", **shared)
    difference = STORED.astype(int) - other
    expected = (difference > 100).astype(int) + (difference > 1500)
    (result,) = predict(model, tmp_path / "a", tmp_path / "b", out=tmp_path / "out")
    assert result.file.name == "1.2.20.dcm"
    assert (expected == 2).any()
    assert (expected != EXPECTED).any()
    for segment in (1, 2):
        found = points_of(result.file, segment)
        np.testing.assert_allclose(found, expected_points(expected == segment, OBLIQUE), atol=1e-5)
    with pytest.raises(UserError) as caught:
        predict(model, tmp_path / "a", out=tmp_path / "out")
    assert str(caught.value) == (
        "--dicom: expected 2 series for each case, as the model has channels (MR0, MR1), found 1. Name the series of "
        "each case in this order."
    )


def test_regions(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "inner": 2}
    model = write_threshold_model(tmp_path / "results", labels=labels, order=[1, 2])
    write_series(tmp_path / "s", STORED, directions=OBLIQUE)
    (result,) = predict(model, tmp_path / "s", out=tmp_path / "out")
    np.testing.assert_allclose(points_of(result.file, 1), expected_points(EXPECTED >= 1, OBLIQUE), atol=1e-5)
    np.testing.assert_allclose(points_of(result.file, 2), expected_points(EXPECTED == 2, OBLIQUE), atol=1e-5)


def test_several_cases(tmp_path):
    model = write_threshold_model(tmp_path / "results")
    for number in range(3):
        write_series(tmp_path / f"s{number}", STORED, SeriesInstanceUID=f"1.2.{number}")
    folders = [tmp_path / f"s{number}" for number in range(3)]
    out = tmp_path / "new" / "out"
    results = predict(model, *folders, out=out, parts=2, part=0, read_ahead=True, write_behind=True)
    assert [(result.name, result.problem) for result in results] == [("1.2.0", None), ("1.2.2", None)]
    assert results[0].seconds.keys() == {"reading", "resampling", "network", "export"}
    assert all(result.seconds["reading"] > 0 for result in results)
    (out / "1.2.0.dcm").write_bytes(b"kept")
    results = predict(model, *folders, out=out, overwrite=False)
    assert [result.name for result in results] == ["1.2.1"]
    assert (out / "1.2.0.dcm").read_bytes() == b"kept"
    assert sorted(file.name for file in out.iterdir()) == ["1.2.0.dcm", "1.2.1.dcm", "1.2.2.dcm"]


def test_a_series_that_is_no_volume(tmp_path):
    """It is found before the first one is predicted; without the check, the others go on."""
    model = write_threshold_model(tmp_path / "results")
    write_series(tmp_path / "good", STORED, SeriesInstanceUID="1.2.1")
    for file in write_series(tmp_path / "bad", STORED, SeriesInstanceUID="1.2.2")[3:4]:
        file.unlink()
    with pytest.raises(UserError, match="expected slices without gaps, found 1 missing"):
        predict(model, tmp_path / "good", tmp_path / "bad", out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    results = predict(model, tmp_path / "bad", tmp_path / "good", out=tmp_path / "out", check=False)
    assert "expected slices without gaps" in str(results[0].problem)
    assert results[1].problem is None
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["1.2.1.dcm"]


@pytest.mark.parametrize(
    ("directions", "axes", "reason"),
    [
        (AXIAL, (0, 1, 2), None),
        (OBLIQUE, (0, 1, 2), None),
        (SAGITTAL, (0, 1, 2), "its slices are not axial"),
        (AXIAL, (0, 1), "the model did not learn all mirror images"),
        (AXIAL, None, "the model did not learn all mirror images"),
    ],
)
def test_axes_that_may_not_be_those_of_the_training(tmp_path, caplog, directions, axes, reason):
    model = write_threshold_model(tmp_path / "results", axes=axes)
    write_series(tmp_path / "s", STORED, directions=directions, SeriesInstanceUID="1.2.1")
    for orientation in (None, "RAS"):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "nnunet_ext"):
            predict(model, tmp_path / "s", out=tmp_path / "out", orientation=orientation)
        told = [record.getMessage() for record in caplog.records if record.name.startswith("nnunet_ext")]
        if reason is None or orientation:
            assert told == []
        else:
            assert told == [
                f"series 1.2.1 is predicted with columns, rows and slices as it is stored, but {reason}. If the "
                f"training images had other axes, the prediction is wrong: add --orientation, such as RAS"
            ]


def test_the_model_is_named(tmp_path):
    model = write_threshold_model(tmp_path / "results", folds=(0, 1))
    write_series(tmp_path / "s", STORED)
    (result,) = predict(model, tmp_path / "s", out=tmp_path / "out")
    predictor = DicomPredictor(model, (0,), device="cpu", step_size=0.7, mirroring=False)
    maker = highdicom.seg.segread(result.file).get_segment_description(1).algorithm_identification[0]
    assert maker.AlgorithmName == "Dataset901_Phantom 3d_fullres"
    assert "model=nnUNetTrainer__nnUNetPlans__3d_fullres" in maker.AlgorithmParameters
    assert "folds=all trained,networks=2,checkpoint=checkpoint_final.pth" in maker.AlgorithmParameters
    assert "folds=0,networks=1," in ",".join(f"{k}={v}" for k, v in predictor.algorithm.parameters.items())
    assert predictor.algorithm.parameters["step_size"] == "0.7"
    assert predictor.algorithm.parameters["mirroring"] == "False"
    assert len(maker.AlgorithmVersion) == 16
    assert maker.AlgorithmVersion != predictor.algorithm.version  # of other folds


def test_the_version_is_that_of_the_weights(tmp_path):
    one, same, other = (
        DicomPredictor(write_threshold_model(tmp_path / name, thresholds), device="cpu").model
        for name, thresholds in (("a", (100.0, 1500.0)), ("b", (100.0, 1500.0)), ("c", (100.0, 1501.0)))
    )
    assert weights_digest(one) == weights_digest(same) != weights_digest(other)
