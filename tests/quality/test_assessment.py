"""Faults that are planted in a set of predictions come first, each with its reason; a clean set has none."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable

import nibabel
import numpy as np
import pytest
import tifffile
from nibabel.nifti1 import header_dtype
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_ext.quality import assessment
from nnunet_ext.quality.assessment import Assessment
from nnunet_ext.quality.case_quality import suspicious_first
from nnunet_ext.quality.grid import Grid
from nnunet_ext.quality.model_files import ModelFiles
from nnunet_ext.quality.picture import picture, picture_side
from nnunet_ext.quality.reason import THRESHOLD

LIVER, SPLEEN = 1, 2
SPACING = (2.5, 1.0, 1.0)


def without_spleen(labels: NDArray) -> NDArray:
    return np.where(labels == SPLEEN, 0, labels)


def doubled(labels: NDArray) -> NDArray:
    """The liver with the nearest voxels added, until it has twice its volume."""
    mask = labels == LIVER
    distance = ndimage.distance_transform_edt(~mask, sampling=(2.5, 1, 1))
    distance[labels == SPLEEN] = np.inf
    distance[[0, -1]] = distance[:, [0, -1]] = distance[:, :, [0, -1]] = np.inf
    nearest = np.argsort(distance, axis=None)[: 2 * int(mask.sum())]
    grown = labels.copy()
    grown.flat[nearest] = LIVER
    return grown


def scattered(labels: NDArray) -> NDArray:
    changed = labels.copy()
    free = ndimage.distance_transform_edt(labels == 0) > 2
    changed[1:-1:2, 1:-1:3, 1:-1:4] = np.where(free, LIVER, labels)[1:-1:2, 1:-1:3, 1:-1:4]
    return changed


def to_the_lower_end(labels: NDArray) -> NDArray:
    first = int(np.flatnonzero((labels == LIVER).any((1, 2)))[0])
    changed = labels.copy()
    changed[:first][np.repeat(labels[first][None] == LIVER, first, 0)] = LIVER
    return changed


def exchanged(labels: NDArray) -> NDArray:
    return np.array([0, SPLEEN, LIVER], np.uint8)[labels]


def thick(torsos, case: str) -> None:
    """Three times the distance of slices, in both headers."""
    for file in (torsos.image(case), torsos.prediction(case)):
        stored = nibabel.load(file)
        nibabel.save(nibabel.Nifti1Image(np.asarray(stored.dataobj), np.diag([1, 1, 7.5, 1])), file)


def of_labels(change: Callable[[NDArray], NDArray]) -> Callable:
    return lambda torsos, case: torsos.change(case, change)


# what is done to a case, the kind of its strongest reason, and words of it
FAULTS: dict[str, tuple[Callable, str, str]] = {
    "new_00": (of_labels(without_spleen), "missing", "spleen: missing, all 20 training cases have it"),
    "new_01": (of_labels(doubled), "volume", "ml, training cases have "),
    "new_02": (of_labels(scattered), "pieces", " separate pieces, training cases have 1"),
    "new_03": (of_labels(lambda labels: labels[:, :, ::-1]), "place", "left and right may be exchanged"),
    "new_04": (thick, "spacing", "voxels of 7.5 mm along z, training images have 2.5 mm"),
    "new_05": (
        lambda torsos, case: torsos.change(case, lambda image: image + 1024, image=True),
        "intensity",
        "image: inside the predicted classes, the median is 11",
    ),
    "new_06": (
        lambda torsos, case: torsos.prediction(case).write_bytes(torsos.prediction("new_11").read_bytes()),
        "geometry",
        "prediction is not on the grid of its image: 46 x 28 x 14 voxels, the image has 46 x 31",
    ),
    "new_07": (
        of_labels(to_the_lower_end),
        "border",
        "liver: touches the image's border (lower end), as in none of 20",
    ),
    "new_08": (of_labels(exchanged), "place", ""),
    "new_09": (of_labels(np.zeros_like), "empty", "empty: no class was found, as in none of 20 training cases"),
}


def test_a_clean_set_has_no_reason_above_the_threshold(torsos):
    found = torsos.look()
    assert len(found) == 22
    assert {case.name: case.reasons for case in found.values() if case.is_suspicious} == {}
    assert all(case.sizes["liver"] > 1 and case.picture and not case.failed for case in found.values())


def test_only_the_cases_that_are_named(torsos):
    model = ModelFiles.read(torsos.model)
    torsos.prediction("new_03").unlink()
    folders = torsos.root / "images", torsos.root / "predictions"
    found = Assessment(model, []).of_folder(*folders, only={"new_01", "new_03"}, show_progress=False)
    assert [(case.name, case.failed) for case in found] == [("new_01", False), ("new_03", True)]


def test_planted_faults_come_first_with_their_reasons(torsos):
    for case, (plant, _, _) in FAULTS.items():
        plant(torsos, case)
    found = suspicious_first(list(torsos.look().values()))
    # the case whose mask was given to another is suspicious, too: nobody knows which of them is right
    assert {case.name for case in found if case.is_suspicious} == {*FAULTS, "new_11"}
    assert {case.name for case in found[: len(FAULTS) + 1]} == {*FAULTS, "new_11"}
    by_name = {case.name: case for case in found}
    for name, (_, kind, words) in FAULTS.items():
        strongest = by_name[name].strongest_first()[0]
        assert (strongest.kind, words in strongest.text) == (kind, True), (name, by_name[name].reasons)
        assert strongest.suspicion >= THRESHOLD
    assert [reason.text for reason in by_name["new_11"].reasons] == ["the same label map as new_06"]
    assert "the same label map as new_11" in [reason.text for reason in by_name["new_06"].reasons]
    assert {reason.class_name for reason in by_name["new_08"].strongest_first()} == {"liver", "spleen"}


def test_what_is_missing_or_damaged_is_a_reason_and_the_others_go_on(torsos, caplog):
    torsos.prediction("new_00").unlink()
    torsos.image("new_01").unlink()
    torsos.prediction("new_02").write_bytes(torsos.prediction("new_02").read_bytes()[:-200])
    torsos.image("new_03").write_bytes(b"no image")
    torsos.change("new_04", lambda image: np.where(image == image.max(), np.nan, image), image=True)
    found = torsos.look()
    assert len(found) == 22
    failed = {name: case for name, case in found.items() if case.failed}
    assert list(failed) == ["new_00", "new_01", "new_02", "new_03", "new_04"]
    reasons = {name: [reason.text for reason in case.reasons if reason.kind == "file"] for name, case in failed.items()}
    assert reasons["new_00"] == ["image without a prediction of this name"]
    assert reasons["new_01"] == ["prediction without an image of this name"]
    assert reasons["new_02"][0].startswith(
        f"{torsos.prediction('new_02')}: expected an intact image, but it is corrupt"
    )
    assert reasons["new_03"][0].startswith(f"{torsos.image('new_03')}: expected an intact image, but it is corrupt")
    assert reasons["new_04"][0].startswith(f"{torsos.image('new_04')}: expected finite values, found NaN or Inf in ")
    assert all(len(lines) == 1 for lines in reasons.values())
    assert [record.message.split(":")[0] for record in caplog.records] == ["case new_02", "case new_03", "case new_04"]
    assert all(case.suspicion == 1.0 for case in failed.values())
    assert failed["new_01"].sizes["liver"] > 0
    assert failed["new_03"].sizes["liver"] > 0  # a damaged image does not hide the prediction, nor the other way round
    assert failed["new_02"].picture is not None
    assert failed["new_01"].picture is None
    assert failed["new_00"].picture is not None
    assert not any(case.is_suspicious for case in found.values() if not case.failed)


def with_header(file, **fields):
    """Spoil a NIfTI file's header."""
    content = bytearray(gzip.decompress(file.read_bytes()))
    header = np.frombuffer(content[:348], header_dtype).copy()
    for name, value in fields.items():
        header[name] = value
    file.write_bytes(gzip.compress(header.tobytes() + content[348:]))


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIO"])
def test_damaged_headers_are_reasons_and_the_others_go_on(torsos, reader):
    plans = torsos.model / "plans.json"
    plans.write_text(json.dumps(json.loads(plans.read_text()) | {"image_reader_writer": reader}))
    parallel = {"sform_code": 1, "srow_x": (1, 1, 0, 0), "srow_y": (0, 0, 0, 0), "srow_z": (0, 0, 1, 0)}
    with_header(torsos.image("new_00"), qform_code=0, sform_code=1, **{f"srow_{each}": 0 for each in "xyz"})
    with_header(torsos.prediction("new_01"), qform_code=0, sform_code=1, srow_x=np.nan)
    with_header(torsos.image("new_02"), qform_code=0, **parallel)
    with_header(torsos.prediction("new_03"), qform_code=0, **parallel)
    with_header(torsos.image("new_04"), vox_offset=np.inf)
    with_header(torsos.prediction("new_05"), vox_offset=np.inf)
    damaged = [torsos.image(f"new_0{number}") for number in (0, 2, 4)]
    damaged += [torsos.prediction(f"new_0{number}") for number in (1, 3, 5)]
    found = torsos.look()
    assert len(found) == 22
    failed = {name: case for name, case in found.items() if case.failed}
    texts = [reason.text for case in failed.values() for reason in case.reasons if reason.kind == "file"]
    if reader == "NibabelIO":
        assert list(failed) == [f"new_0{number}" for number in range(6)]
        assert sorted(text.split(":")[0] for text in texts) == sorted(map(str, damaged))
    else:  # SimpleITK mends some
        assert {"new_04", "new_05"} <= failed.keys() <= {f"new_0{number}" for number in range(6)}
    assert not any("\n" in text for text in texts)


@pytest.mark.parametrize("where", ["class_reasons", "image_reasons"])
def test_any_error_is_a_reason_and_the_others_go_on(torsos, monkeypatch, caplog, where):
    """As in prediction: nobody loses a run over 21 cases because of one."""
    calls = iter(range(22))
    works = getattr(assessment, where)

    def fails_at_first(*arguments, **options):
        if next(calls) == 0:
            raise IndexError("index 0 is out of bounds\nfor axis 0")
        return works(*arguments, **options)

    monkeypatch.setattr(assessment, where, fails_at_first)
    found = torsos.look()
    assert [name for name, case in found.items() if case.failed] == ["new_00"]
    assert [reason.text for reason in found["new_00"].reasons] == ["index 0 is out of bounds"]
    assert caplog.messages == ["case new_00: index 0 is out of bounds"]
    assert all(case.picture and case.sizes for name, case in found.items() if name != "new_00")


def test_values_that_are_no_label_and_headers_that_differ(torsos):
    def odd(labels: NDArray) -> NDArray:
        changed = labels.astype(np.float32)
        changed[0, 0, :3] = 9, 2.5, -1
        return changed

    torsos.change("new_00", odd)
    moved = np.diag([*SPACING[::-1], 1.0])
    moved[0, 3] = 1.0
    for case, affine in {"new_01": np.diag([1, 1, 2, 1]), "new_02": moved}.items():
        labels = np.asarray(nibabel.load(torsos.prediction(case)).dataobj)
        nibabel.save(nibabel.Nifti1Image(labels, affine), torsos.prediction(case))
    (torsos.root / "predictions" / "._new_05.nii.gz").write_bytes(b"of macOS")
    found = torsos.look()
    assert len(found) == 22
    assert {case.name: case.strongest_first()[0].text for case in found.values() if case.is_suspicious} == {
        "new_00": "prediction has values that are no label of the model: -1, 2.5, 9 in 3 voxels",
        "new_01": "prediction is not on the grid of its image: voxels of 1 x 1 x 2 mm, the image has 1 x 1 x 2.5 mm",
        "new_02": "prediction is not on the grid of its image: another origin or direction, up to 1 voxels away",
    }


def test_empty_predictions_are_no_copies_and_a_prediction_of_another_size_is_not_drawn(torsos):
    for case in ("new_02", "new_06"):
        torsos.change(case, np.zeros_like)
    torsos.prediction("new_10").write_bytes(torsos.prediction("new_11").read_bytes())
    found = torsos.look()
    assert {reason.kind for case in ("new_02", "new_06") for reason in found[case].reasons} == {"empty"}
    plain = np.asarray(nibabel.load(torsos.image("new_10")).dataobj).T
    grid = Grid(plain.shape, SPACING, np.diag([-1.0, -1.0, 2.5, 1.0]))
    assert found["new_10"].picture == picture(plain, None, grid, side=picture_side(22))


@pytest.mark.parametrize("spoiled", [False, True])
def test_tif_whose_label_maps_do_not_say_their_spacing(torsos, spoiled):
    """nnU-Net accepts such label maps. The check of NIfTI files does not find NaN here."""
    for name, changes in {"plans": {"image_reader_writer": "Tiff3DIO"}, "dataset": {"file_ending": ".tif"}}.items():
        file = torsos.model / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    image, labels = (np.asarray(nibabel.load(f("new_00")).dataobj).T for f in (torsos.image, torsos.prediction))
    for folder in ("images", "predictions"):
        shutil.rmtree(torsos.root / folder)
        (torsos.root / folder).mkdir()
    image = np.where((image == image.max()) & spoiled, np.nan, image)
    tifffile.imwrite(torsos.root / "images" / "new_0000.tif", image)
    (torsos.root / "images" / "new.json").write_text(json.dumps({"spacing": SPACING}))
    tifffile.imwrite(torsos.root / "predictions" / "new.tif", labels)
    case = torsos.look()["new"]
    assert case.failed == spoiled
    assert [reason.text.split(": expected ")[-1][:13] for reason in case.reasons] == ["finite values"] * spoiled
    assert case.sizes["liver"] == pytest.approx((labels == LIVER).sum() * (0.001 if spoiled else 0.0025))
