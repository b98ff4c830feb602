"""A series becomes the volume that SimpleITK makes of it, exactly; what is none is refused."""

from __future__ import annotations

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_series import ORIENTATIONS, affine_of, asymmetric, write_series
from pydicom.uid import JPEGLSLossless, RLELossless, SecondaryCaptureImageStorage

from nnunet_ext.dicom.series import Series
from nnunet_ext.errors import UserError

SPACING, ORIGIN = (2.5, 1.25, 0.75), (-31.5, 12.25, 107.0)
MPEG2 = "1.2.840.10008.1.2.4.100"  # video: pydicom has no decoder


def shuffled(files):
    return sorted(files)  # names say nothing of places


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_intensities_and_places(tmp_path, name, modality):
    stored = asymmetric()
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1024} if modality == "CT" else {}
    files = write_series(tmp_path / "s", stored, directions=ORIENTATIONS[name], modality=modality, **tags)
    assert shuffled(files) != files
    series = Series.read(shuffled(files))
    image = series.image()
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, stored * 2.0 - 1024 if modality == "CT" else stored)
    np.testing.assert_allclose(series.geometry.affine, affine_of(ORIENTATIONS[name], SPACING, ORIGIN), atol=1e-9)
    assert list(series.files) == files
    assert [header.InstanceNumber for header in series.headers] == list(range(1, 8))
    assert not any("PixelData" in header for header in series.headers)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_as_simpleitk_and_highdicom_read_it(tmp_path, name):
    files = write_series(tmp_path / "s", asymmetric(), directions=ORIENTATIONS[name], RescaleIntercept=-1000)
    series = Series.read(shuffled(files))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    theirs = reader.Execute()
    np.testing.assert_array_equal(series.image(), SimpleITK.GetArrayFromImage(theirs))
    np.testing.assert_allclose(series.geometry.spacing[::-1], theirs.GetSpacing(), rtol=1e-9)
    np.testing.assert_allclose(series.geometry.position, theirs.GetOrigin(), rtol=1e-9)
    directions = np.reshape(theirs.GetDirection(), (3, 3))[:, ::-1]
    np.testing.assert_allclose(series.geometry.direction, directions, atol=1e-9)
    volume = highdicom.get_volume_from_series([pydicom.dcmread(file) for file in files])
    volume = volume.match_geometry(series.geometry)
    np.testing.assert_array_equal(series.image(), volume.array)
    np.testing.assert_allclose(series.geometry.affine, volume.affine, atol=1e-9)


def test_each_slice_has_its_own_slope(tmp_path):
    """As in PET."""

    def change(dataset, place):
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 * (place + 1), -place

    stored = asymmetric()
    series = Series.read(write_series(tmp_path / "s", stored, change=change))
    places = np.arange(7)[:, None, None]
    np.testing.assert_array_equal(series.image(), stored * 0.5 * (places + 1) - places)


def test_dark_is_not_turned_to_bright(tmp_path):
    stored = asymmetric()
    files = write_series(tmp_path / "s", stored, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(Series.read(files).image(), stored)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_files(tmp_path, syntax):
    stored = asymmetric() + np.int16(200)

    def change(dataset, _):
        dataset.compress(syntax)

    files = write_series(tmp_path / "s", stored.astype(np.uint16), change=change)
    assert pydicom.dcmread(files[0]).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(Series.read(files).image(), stored)


def enhanced(folder, stored, **settings):
    """An enhanced multi-frame CT, with its frames in a random order."""
    files = write_series(folder / "single", stored, RescaleIntercept=-1000, **settings)
    datasets = [pydicom.dcmread(file) for file in sorted(files)]
    for number, dataset in enumerate(datasets, start=1):
        dataset.InstanceNumber = number  # highdicom sorts by it
        dataset.KVP, dataset.AcquisitionNumber = 120, 1
    made = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        datasets, highdicom.UID(), 7, highdicom.UID(), 1, transfer_syntax_uid=pydicom.uid.ExplicitVRLittleEndian
    )
    (folder / "multi").mkdir()
    made.save_as(folder / "multi" / "frames.dcm")
    return folder / "multi" / "frames.dcm"


@pytest.mark.parametrize("name", ["axial", "sagittal", "oblique"])
def test_an_enhanced_image(tmp_path, name):
    stored = asymmetric()
    series = Series.read([enhanced(tmp_path, stored, directions=ORIENTATIONS[name])])
    assert series.frames is not None
    assert sorted(series.frames) != list(series.frames)
    np.testing.assert_array_equal(series.image(), stored - 1000.0)
    np.testing.assert_allclose(series.geometry.affine, affine_of(ORIENTATIONS[name], SPACING, ORIGIN), atol=1e-9)


def test_an_enhanced_image_with_maps(tmp_path):
    """Neither a real-world value map nor a look of the screen changes the values."""
    stored = asymmetric()
    file = enhanced(tmp_path, stored)
    dataset = pydicom.dcmread(file)
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    mapping = pydicom.Dataset()
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = -32768, 32767
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept, mapping.LUTLabel = 3.0, 7.0, "map"
    mapping.MeasurementUnitsCodeSequence = [highdicom.sr.CodedConcept("1", "UCUM", "no units")]
    dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [mapping]
    dataset.save_as(file)
    np.testing.assert_array_equal(Series.read([file]).image(), stored - 1000.0)


def test_an_enhanced_image_with_a_gap(tmp_path):
    def change(dataset, place):
        if place > 4:
            dataset.ImagePositionPatient[2] += 2.5

    with pytest.raises(UserError, match=r"expected slices without gaps, found 1 missing, the first between frame \d"):
        Series.read([enhanced(tmp_path, asymmetric((9, 16, 12)), change=change)])


def refused(files) -> str:
    with pytest.raises(UserError) as caught:
        Series.read(files).image()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def delete(keyword):
    def change(dataset, place):
        if place == 2:
            del dataset[keyword]

    return change


@pytest.mark.parametrize(
    "keyword",
    [
        *("FrameOfReferenceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Rows", "Columns"),
        *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    ],
)
def test_a_missing_tag(tmp_path, keyword):
    files = write_series(tmp_path / "s", asymmetric(), change=delete(keyword))
    message = refused(files)
    assert message.startswith(f"{tmp_path / 's'}")
    assert message.endswith(
        f": expected the tag {keyword} in {files[2].name}, found none. Export the series again with all its tags."
    )


@pytest.mark.parametrize(
    ("keyword", "value", "text"),
    [
        ("ImagePositionPatient", ["1", "2"], "expected 3 numbers in the tag ImagePositionPatient of IM"),
        ("ImagePositionPatient", ["1", "2", "nan"], "expected 3 numbers in the tag ImagePositionPatient of IM"),
        ("PixelSpacing", ["0", "1"], "expected 2 numbers in the tag PixelSpacing of IM"),
        ("SamplesPerPixel", 3, "expected one value in each pixel, found 3 (colour). Choose another series."),
        ("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"], "expected a slice of a volume, found a localizer"),
        ("Rows", 17, "expected slices of one size, spacing and orientation, found rows and columns (16, 12) in "),
        ("FrameOfReferenceUID", "1.2.3", "expected one FrameOfReferenceUID, found another in IM"),
        ("PatientID", "id 8", "expected one PatientID, found another in IM"),
        ("StudyInstanceUID", "1.2.3", "expected one StudyInstanceUID, found another in IM"),
        ("SOPClassUID", SecondaryCaptureImageStorage, "expected one SOPClassUID, found another in IM"),
        ("Modality", "PT", "expected one Modality, found another in IM"),
        ("NumberOfFrames", 2, "expected one multi-frame file or files of one slice, found 7 files, of which IM"),
    ],
)
def test_a_wrong_tag(tmp_path, keyword, value, text):
    def change(dataset, place):
        if place == 4:
            setattr(dataset, keyword, value)

    assert text in refused(write_series(tmp_path / "s", asymmetric(), change=change))


def test_a_tag_that_one_slice_lacks(tmp_path):
    message = refused(write_series(tmp_path / "s", asymmetric(), change=delete("PatientID")))
    assert "expected one PatientID, found another in IM" in message


def test_one_object_in_two_files(tmp_path):
    def change(dataset, place):
        if place in (2, 5):
            dataset.SOPInstanceUID = "1.2.3"

    files = write_series(tmp_path / "s", asymmetric(), change=change)
    text = (
        f"SOPInstanceUID of its own in each file, found that of {files[2].name} in {files[5].name}. Remove copies, or"
    )
    assert text in refused(files)


@pytest.mark.parametrize("multi", [False, True])
def test_files_without_a_preamble(tmp_path, multi):
    files = [enhanced(tmp_path, asymmetric())] if multi else write_series(tmp_path / "s", asymmetric())
    expected = Series.read(files).image()
    for file in files:
        file.write_bytes(file.read_bytes()[132:])
    np.testing.assert_array_equal(Series.read(files).image(), expected)


def test_a_tag_that_is_no_number(tmp_path):
    files = write_series(tmp_path / "s", asymmetric())
    content = files[3].read_bytes()
    assert content.count(b"1.25\\0.75") == 1
    files[3].write_bytes(content.replace(b"1.25\\0.75", b"1.25\\O.75"))
    message = refused(files)
    assert f"expected 2 numbers in the tag PixelSpacing of {files[3].name}, found ['1.25', 'O.75']. Exp" in message


def test_a_uid_that_is_a_path(tmp_path):
    """The segmentation is named after it."""

    def change(dataset, _):
        dataset["SeriesInstanceUID"] = pydicom.DataElement(
            "SeriesInstanceUID", "UI", "1.2/../../up", validation_mode=pydicom.config.IGNORE
        )

    message = refused(write_series(tmp_path / "s", asymmetric(), change=change))
    assert "expected a SeriesInstanceUID of numbers and dots, found '1.2/../../up'." in message


def test_one_slice(tmp_path):
    assert "found one slice, as in a localizer" in refused(write_series(tmp_path / "s", asymmetric()[:1]))


def test_a_multi_frame_file_without_places(tmp_path):
    def change(dataset, _):
        dataset.NumberOfFrames = 7
        dataset.SOPClassUID = SecondaryCaptureImageStorage

    files = write_series(tmp_path / "s", asymmetric()[:1], change=change)
    message = refused(files)
    assert "or a multi-frame image with functional groups, found Secondary Capture Image Storage in IM0000." in message


def test_pixels_that_cannot_be_decoded(tmp_path):
    files = write_series(tmp_path / "s", asymmetric())
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = MPEG2
        dataset.PixelData = pydicom.encaps.encapsulate([b"\0\0\0\0"])
        dataset["PixelData"].VR = "OB"
        dataset.save_as(file)
    with pytest.raises(UserError) as caught:
        Series.read(files)  # before any pixel is read
    assert str(caught.value) == (
        f"{files[0]}: expected pixels that the installed packages decode, found MPEG2 Main Profile / Main Level. Run "
        f"pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg, or decompress the files (dcmdjpeg, gdcmconv)."
    )


def test_a_decoder_whose_package_is_missing(tmp_path, monkeypatch):
    files = write_series(tmp_path / "s", asymmetric())
    decoder = pydicom.pixels.get_decoder(pydicom.uid.ExplicitVRLittleEndian)
    monkeypatch.setattr(type(decoder), "is_available", property(lambda _: False))
    assert "packages decode, found Explicit VR Little Endian. Run pip install" in refused(files)


@pytest.mark.parametrize("multi", [False, True])
def test_a_truncated_file(tmp_path, multi):
    files = [enhanced(tmp_path, asymmetric())] if multi else write_series(tmp_path / "s", asymmetric())
    files[-1].write_bytes(files[-1].read_bytes()[:-90])
    assert refused(files).startswith(f"{files[-1]}: expected an intact DICOM image, got ")


def test_a_file_that_is_gone(tmp_path):
    files = write_series(tmp_path / "s", asymmetric())
    series = Series.read(files)
    files[3].unlink()
    with pytest.raises(UserError, match="expected an intact DICOM image, got FileNotFoundError"):
        series.image()


def test_no_dicom(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 500)
    assert refused([tmp_path / "a"]).startswith(f"{tmp_path / 'a'}: expected the tag StudyInstanceUID in a, found none")
