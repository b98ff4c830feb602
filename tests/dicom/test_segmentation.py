"""What a segmentation says of its segments, its maker, the patient and the images."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_series import AXIAL, OBLIQUE, PATIENT, STUDY, asymmetric, write_series

from nnunet_ext.dicom.segmentation import COPIED, Algorithm, Segment, segments_of, write_segmentation
from nnunet_ext.dicom.series import Series
from nnunet_ext.errors import UserError

ALGORITHM = Algorithm("Dataset007_Pancreas 3d_fullres", "0123456789abcdef", {"folds": "0 1", "mirroring": "False"})
TWO = [Segment("liver", (1,)), Segment("kidney_left", (2,))]
STORED = asymmetric()
LABELS = ((STORED > 100).astype(np.uint8) + (STORED > 1500)).astype(np.uint8)


def write(tmp_path, labels=LABELS, segments=TWO, algorithm=ALGORITHM, channels=1, **settings):
    settings = {"study": "1.2.1", "frame_of_reference": "1.2.2", "directions": OBLIQUE} | settings
    series = [
        Series.read(write_series(tmp_path / f"s{place}", STORED, **settings, SeriesInstanceUID=f"1.2.{place}"))
        for place in range(channels)
    ]
    write_segmentation(labels, series, segments, algorithm, tmp_path / "seg.dcm")
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["seg.dcm"]
    return series, highdicom.seg.segread(tmp_path / "seg.dcm")


def on(series, seg, **options):
    """The segmentation on the grid of the series."""
    return seg.get_volume(**options).match_geometry(series.geometry).array


def test_labels(tmp_path):
    (series,), seg = write(tmp_path)
    np.testing.assert_array_equal(on(series, seg, combine_segments=True), LABELS)
    assert seg.segmentation_type == highdicom.seg.SegmentationTypeValues.BINARY
    assert seg.SegmentsOverlap == "NO"
    one, two = (seg.get_segment_description(number) for number in (1, 2))
    assert (one.segment_label, two.segment_label) == ("liver", "kidney_left")
    assert one.segmented_property_type.meaning == "Liver"
    assert two.segmented_property_type.meaning == "Kidney"
    assert two.segmented_property_category.meaning == "Anatomical Structure"
    side = two.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert (side.CodeValue, side.CodingSchemeDesignator) == ("7771000", "SCT")
    assert "SegmentedPropertyTypeModifierCodeSequence" not in one.SegmentedPropertyTypeCodeSequence[0]


def test_the_maker(tmp_path):
    _, seg = write(tmp_path)
    for number in (1, 2):
        description = seg.get_segment_description(number)
        assert description.algorithm_type == highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC
        maker = description.algorithm_identification[0]
        assert (maker.AlgorithmName, maker.AlgorithmVersion) == (ALGORITHM.name, ALGORITHM.version)
        assert maker.AlgorithmParameters == "folds=0 1,mirroring=False"
        assert maker.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    assert seg.SeriesDescription == "Segmentation: Dataset007_Pancreas 3d_fullres"
    assert seg.Manufacturer == "nnunet_ext"
    assert [text.split()[0] for text in seg.SoftwareVersions] == ["nnunet_ext", "nnunetv2"]


def test_patient_and_study_are_kept(tmp_path):
    _, seg = write(tmp_path)
    for keyword, value in (PATIENT | STUDY).items():
        assert str(seg[keyword].value) == value, keyword
    assert (seg.StudyInstanceUID, seg.FrameOfReferenceUID) == ("1.2.1", "1.2.2")
    assert set(COPIED) <= (PATIENT | STUDY).keys()


def test_uids_are_new(tmp_path):
    (series,), seg = write(tmp_path / "a")
    again = write(tmp_path / "b")[1]
    images = {str(header[tag].value) for header in series.headers for tag in ("SeriesInstanceUID", "SOPInstanceUID")}
    made = [str(each[tag].value) for each in (seg, again) for tag in ("SeriesInstanceUID", "SOPInstanceUID")]
    assert len({*images, *made}) == len(images) + 4
    assert (seg.SeriesNumber, seg.Modality) == (1004, "SEG")
    assert seg.file_meta.MediaStorageSOPInstanceUID == seg.SOPInstanceUID


def test_the_images_are_named(tmp_path):
    """In the order of frames: each frame names the slice that it lies on."""
    (first, second), seg = write(tmp_path, channels=2)
    by_uid = {str(header.SOPInstanceUID): header for header in first.headers}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        header = by_uid[source.ReferencedSOPInstanceUID]
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(np.float64(position), np.float64(header.ImagePositionPatient), atol=1e-6)
    named = {
        str(instance.ReferencedSOPInstanceUID)
        for item in seg.ReferencedSeriesSequence
        for instance in item.ReferencedInstanceSequence
    }
    assert named == {str(header.SOPInstanceUID) for series in (first, second) for header in series.headers}


def test_slices_that_are_a_little_off(tmp_path):
    """The segmentation lies on the even grid; its frames then name no slice, but all images are named."""

    def change(dataset, place):
        dataset.ImagePositionPatient[2] += 0.2 * (place % 2)

    (series,), seg = write(tmp_path, change=change, directions=AXIAL)
    np.testing.assert_array_equal(on(series, seg, combine_segments=True), LABELS)
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == len(STORED)


def test_regions_overlap(tmp_path):
    regions = [Segment("organ", (1, 2)), Segment("tumour", (2,)), Segment("nothing", (3,))]
    (series,), seg = write(tmp_path, segments=regions)
    volume = on(series, seg)
    for place, region in enumerate(regions):
        np.testing.assert_array_equal(volume[..., place], np.isin(LABELS, region.labels))
    assert seg.SegmentsOverlap == "YES"
    assert seg.get_segment_description(2).segmented_property_category.meaning == "Morphologically Abnormal Structure"


def test_nothing_was_found(tmp_path):
    """The object is there and whole; its frames are empty."""
    (series,), seg = write(tmp_path, labels=np.zeros_like(LABELS))
    assert seg.number_of_segments == 2
    assert not on(series, seg, combine_segments=True).any()


def test_many_labels(tmp_path):
    """More than a byte counts."""
    labels = LABELS.astype(np.uint16)
    labels[LABELS == 2] = 300
    segments = [Segment(f"part {number}", (number,)) for number in range(1, 301)]
    (series,), seg = write(tmp_path, labels=labels, segments=segments)
    np.testing.assert_array_equal(on(series, seg, combine_segments=True), labels)


def test_names_that_dicom_does_not_take(tmp_path):
    name = "Grosshirn links \\ 左脑\t" + "x" * 80
    _, seg = write(tmp_path, segments=[Segment(name, (1,)), TWO[1]], algorithm=Algorithm("n" * 90, "v" * 90, {}))
    description = seg.get_segment_description(1)
    kept = name.replace("\\", "/").replace("\t", " ")
    assert description.segment_label == kept[:64]
    assert description.segmented_property_type.meaning == kept[:64]
    assert description.segmented_property_type.value == kept
    assert description.segmented_property_type.scheme_designator == "99NNUNETEXT"
    assert (seg.SeriesDescription, seg.DeviceSerialNumber) == (f"Segmentation: {'n' * 50}", "v" * 64)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientSex", "U"),
        ("PatientBirthDate", "1951"),
        ("PatientBirthDate", ""),
        ("StudyTime", "25"),
        ("PatientName", "no caret"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_odd_values_are_kept(tmp_path, keyword, value):
    def change(dataset, _):
        vr = pydicom.datadict.dictionary_VR(keyword)
        dataset[keyword] = pydicom.DataElement(keyword, vr, value, validation_mode=pydicom.config.IGNORE)

    write(tmp_path, change=change)
    raw = pydicom.dcmread(tmp_path / "seg.dcm")
    assert raw.get_item(keyword).value.decode().strip() == value


@pytest.mark.parametrize("keyword", COPIED)
def test_absent_tags_stay_empty(tmp_path, keyword):
    """Nobody's name is invented."""

    def change(dataset, _):
        del dataset[keyword]

    _, seg = write(tmp_path, change=change)
    assert keyword in seg
    assert not seg[keyword].value


def test_no_series_number(tmp_path):
    def change(dataset, _):
        del dataset.SeriesNumber

    assert write(tmp_path, change=change)[1].SeriesNumber == 1000


def test_another_character_set(tmp_path):
    """The patient's name is written in UTF-8, as the labels' names may need."""
    _, seg = write(tmp_path, SpecificCharacterSet="ISO_IR 100")
    assert seg.SpecificCharacterSet == "ISO_IR 192"
    assert str(seg.PatientName) == "Müller^Änne"
    assert "Müller".encode() in (tmp_path / "seg.dcm").read_bytes()


def test_a_full_disk(tmp_path, monkeypatch):
    """The segmentation that was there stays."""
    (series,), _ = write(tmp_path)
    before = (tmp_path / "seg.dcm").read_bytes()

    def save_half(_, file, **__):
        Path(file).write_bytes(before[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(highdicom.seg.Segmentation, "save_as", save_half)
    with pytest.raises(UserError, match="No space"):
        write_segmentation(LABELS, [series], TWO, ALGORITHM, tmp_path / "seg.dcm")
    assert (tmp_path / "seg.dcm").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["s0", "seg.dcm"]


def test_tags_that_highdicom_refuses(tmp_path):
    """Which ones those are is up to it; the line names the series, and no file is left."""
    series = Series.read(write_series(tmp_path / "s", STORED))
    with pytest.raises(UserError) as caught:
        write_segmentation(LABELS, [series], TWO[:1], ALGORITHM, tmp_path / "seg.dcm")  # label 2 has no segment
    assert str(caught.value).startswith(f"{series.where}: expected tags with which a segmentation can be made, got Val")
    assert [file.name for file in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize(
    ("labels", "segments"),
    [
        ({"background": 0, "b": 2, "a": 1}, [Segment("a", (1,)), Segment("b", (2,))]),
        ({"background": 0, "a": 1, "ignore": 2}, [Segment("a", (1,))]),
        ({"b": 2, "a": 1, "rest": 0}, [Segment("a", (1,)), Segment("b", (2,))]),
        (
            {"background": 0, "whole": [1, 2], "inner": 2, "ignore": 3},
            [Segment("whole", (1, 2)), Segment("inner", (2,))],
        ),
        ({"background": 0, "inner": [2], "whole": (1, 2)}, [Segment("inner", (2,)), Segment("whole", (1, 2))]),
        ({"background": "0", "v12": "12", "v9": "9"}, [Segment("v9", (9,)), Segment("v12", (12,))]),
        ({"background": 0, "whole": ["10", 2], "inner": "10"}, [Segment("whole", (10, 2)), Segment("inner", (10,))]),
        ({"background": 0, "b": [2], "a": [1]}, [Segment("a", (1,)), Segment("b", (2,))]),
    ],
)
def test_segments(labels, segments):
    assert segments_of(labels) == segments
