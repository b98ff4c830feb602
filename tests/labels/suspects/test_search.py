"""Planted faults are on top, each with its reason; a clean set has none; nothing depends on their order."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from blobs import LABELS, MODEL, SHAPE, SPACING
from PIL import Image
from scipy import ndimage

from nnunet_ext.labels.suspects.search import search
from nnunet_ext.phantoms.dataset import write_nifti


def flipped(labels):
    return np.flip(labels, 0)


def shifted(labels):
    return np.roll(labels, 3, 0)


def swapped(labels):
    return np.array([0, 2, 1])[labels]


def eroded(labels):
    kept = ndimage.binary_erosion(labels == 1, iterations=2)
    return np.where((labels == 1) & ~kept, 0, labels)


def without_component(labels):
    components, _ = ndimage.label(labels == 2)
    smaller = 1 + int(np.argmin(np.bincount(components.ravel())[1:]))
    return np.where(components == smaller, 0, labels)


def without_class(labels):
    return np.where(labels == 2, 0, labels)


FAULTS = (flipped, shifted, swapped, eroded, without_component)


def test_a_clean_set_has_no_reason(blobs):
    found = blobs.search()
    assert [case.reasons for case in found.cases] == [()] * 12
    assert all(case.measures.problem is None for case in found.cases)
    assert sorted(found.temperatures) == [0, 1]


def test_each_fault_is_on_top_with_its_reason(blobs):
    for number, fault in enumerate(FAULTS):
        blobs.change(number, fault)
    found = blobs.search()
    first = {case.measures.name: case.reasons[0] for case in found.cases[:5]}
    assert all(case.reasons == () for case in found.cases[5:])
    assert {name: reason.kind for name, reason in first.items()} == {
        "case_00": "mirrored",
        "case_01": "shifted",
        "case_02": "swapped",
        "case_03": "distance",
        "case_04": "missed",
    }
    assert first["case_00"].text == "the label is mirrored along z"
    assert first["case_01"].text == "the label is shifted by (0, 0, 3) voxels"
    assert first["case_02"].text.startswith("labels 1 (liver) and 2 (spleen) are swapped: at least 9")
    assert first["case_03"].text.startswith("label 1 (liver) is drawn too small: its surface lies ")
    assert first["case_04"].text.startswith("label 2 (spleen): 1 component of ")
    classes = {case.measures.name: case.classes for case in found.cases[:5]}
    assert classes["case_00"] == classes["case_02"] == ("liver", "spleen")
    assert (classes["case_03"], classes["case_04"]) == (("liver",), ("spleen",))


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (lambda labels: np.flip(labels, 1), "the label is mirrored along y"),
        (lambda labels: np.flip(labels, 2), "the label is mirrored along x"),
        (without_class, "label 2 (spleen) is missing in the label, the prediction has "),
        (lambda labels: np.where(labels == 2, 1, labels), "label 2 (spleen) is missing in the label, the prediction "),
    ],
)
def test_other_faults(blobs, fault, text):
    blobs.change(3, fault)
    (first, *others) = blobs.search().cases
    assert first.measures.name == "case_03"
    assert first.reasons[0].text.startswith(text)
    assert all(case.reasons == () for case in others)


def test_one_class_shifted(blobs):
    blobs.change(3, lambda labels: np.where(np.roll(labels, 3, 1) == 1, 1, np.where(labels == 2, 2, 0)))
    assert blobs.search().cases[0].reasons[0].text == "label 1 (liver) is shifted by (0, 3, 0) voxels"


def test_a_label_where_there_is_no_image(blobs):
    image = blobs.raw / "imagesTr" / "case_03_0000.nii.gz"
    values = blobs.read(image).copy()
    values[:7] = 0
    write_nifti(image, values, SPACING)
    kinds = {reason.kind for reason in blobs.search().cases[0].reasons}
    assert "beyond" in kinds


def test_order_changes_nothing_and_spacing_only_mm(blobs):
    for number, fault in enumerate(FAULTS):
        blobs.change(number, fault)
    found = blobs.search()
    before = {case.measures.name: case for case in found.cases}
    predictions = found.predictions
    turned = type(predictions)(
        predictions.dataset,
        predictions.trainer,
        predictions.plans,
        predictions.configuration,
        predictions.folds,
        predictions.cases[::-1],
    )
    again = search(turned, show_progress=False)
    assert [case.measures.name for case in again.cases] == [case.measures.name for case in found.cases]
    assert [case.rank for case in again.cases] == pytest.approx([case.rank for case in found.cases])
    for file in [*blobs.root.rglob("*.nii.gz")]:
        write_nifti(file, blobs.read(file), (6.0, 3.0, 3.0))
    for case in blobs.search().cases:
        old = before[case.measures.name]
        assert case.rank == pytest.approx(old.rank)
        for name, measures in case.measures.classes.items():
            of_old = old.measures.classes[name]
            if measures.distance is not None:
                assert measures.distance == pytest.approx(3 * of_old.distance)
            assert (measures.dice, measures.nsd, measures.inside) == (of_old.dice, of_old.nsd, of_old.inside)


def test_several_processes_find_the_same(blobs):
    blobs.change(1, shifted)
    one, two = (search(blobs.find(), processes=number, show_progress=False) for number in (1, 2))
    assert [(case.measures.name, case.rank) for case in one.cases] == [
        (case.measures.name, pytest.approx(case.rank)) for case in two.cases
    ]


def test_without_probabilities(blobs):
    for file in blobs.root.rglob("*.npz"):
        file.unlink()
    blobs.change(1, shifted)
    found = blobs.search()
    assert found.temperatures == {}
    assert found.cases[0].reasons[0].kind == "shifted"
    assert all(measures.inside is None for case in found.cases for measures in case.measures.classes.values())


def test_an_ignored_part_says_nothing(blobs):
    blobs.describe(labels=LABELS | {"ignore": 3})
    # what was shifted, and everything around it, is ignored
    blobs.change(
        3, lambda labels: np.full(SHAPE, 3) * (np.arange(SHAPE[2]) > 13) + labels * (np.arange(SHAPE[2]) <= 13)
    )
    assert all(case.reasons == () for case in blobs.search().cases)


def test_classes_that_were_not_annotated(blobs):
    for number in (3, 4):
        blobs.change(number, without_class)
    blobs.describe(annotated={"case_03": ["liver"]})
    found = {case.measures.name: case for case in blobs.search().cases}
    assert found["case_03"].reasons == ()
    assert found["case_04"].reasons[0].kind == "lacking"


def test_regions(blobs):
    """Nested regions: the organ, and the part of it with label 2."""
    blobs.describe(labels={"background": 0, "organs": [1, 2], "spleen": [2]}, regions_class_order=[1, 2])
    for file in blobs.root.rglob("*.npz"):
        chances = np.load(file)["probabilities"]
        np.savez_compressed(file, probabilities=np.stack([chances[1] + chances[2], chances[2]]))
    for number in range(12):
        regions = np.load(blobs.validation(number) / f"case_{number:02d}.npz")["probabilities"] > 0.5
        write_nifti(blobs.prediction(number), np.where(regions[1], 2, regions[0]).astype(np.uint8), SPACING)
    assert all(case.reasons == () for case in blobs.search().cases)
    blobs.change(1, shifted)
    blobs.change(4, without_component)
    first = {case.measures.name: case.reasons[0].text for case in blobs.search().cases[:2]}
    assert first["case_01"] == "the label is shifted by (0, 0, 3) voxels"
    assert first["case_04"].startswith(("region spleen: 1 component of ", "region organs: 1 component of "))


def test_what_is_wrong_with_a_file_is_the_reason_of_its_case(blobs):
    blobs.prediction(2).write_bytes(b"nothing")
    shutil.copy(blobs.validation(3) / "case_05.npz", blobs.validation(3) / "case_03.npz")
    write_nifti(blobs.label(4), np.zeros((4, 4, 4), np.uint8), SPACING)
    found = {case.measures.name: case.measures.problem for case in blobs.search().cases}
    assert "case_02.nii.gz: expected an intact image" in found["case_02"]
    assert "found those of another prediction: an earlier training wrote them." in found["case_03"]
    assert "case_04.nii.gz: expected the shape (20, 30, 26) of its prediction, got (4, 4, 4)" in found["case_04"]
    assert [name for name, problem in found.items() if problem] == ["case_02", "case_03", "case_04"]


def test_2d_images_of_another_format(blobs):
    """Colour photographs (PNG): three channels in one file, no spacing, no place in space."""
    for file in blobs.root.rglob("*.nii.gz"):
        slice_ = blobs.read(file)[10]
        if file.parent.name == "imagesTr":
            slice_ = np.repeat(np.clip(slice_, 1, 255)[..., None], 3, -1)
        Image.fromarray(slice_.astype(np.uint8)).save(file.with_suffix("").with_suffix(".png"))
        file.unlink()
    for file in blobs.root.rglob("*.npz"):
        np.savez_compressed(file, probabilities=np.load(file)["probabilities"][:, 10:11])
    blobs.describe(channel_names={"0": "R", "1": "G", "2": "B"}, file_ending=".png")
    plans = blobs.root / MODEL / "plans.json"
    plans.write_text(plans.read_text().replace("SimpleITKIO", "NaturalImage2DIO"))
    spotted, organ = blobs.raw / "imagesTr" / "case_05_0000.png", blobs.raw / "labelsTr" / "case_05.png"
    pixels = np.array(Image.open(spotted))
    pixels[np.asarray(Image.open(organ)) == 1] = 0  # a black organ is no outside
    Image.fromarray(pixels).save(spotted)
    assert all(case.reasons == () for case in blobs.search().cases)
    label = blobs.raw / "labelsTr" / "case_03.png"
    Image.fromarray(np.flip(np.asarray(Image.open(label)), 1)).save(label)
    first = blobs.search().cases[0]
    assert (first.measures.name, first.measures.unit) == ("case_03", "cm²")
    assert first.reasons[0].text == "the label is mirrored along x"
    assert first.measures.picture is not None
