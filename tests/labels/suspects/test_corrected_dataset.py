"""The new dataset: links for what is unchanged, splits and plans of the old one."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil

import nibabel
import numpy as np
import pytest
from blobs import DATASET, LABELS, SPACING

from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.labels.suspects.corrected_case import Correcting
from nnunet_ext.labels.suspects.corrected_dataset import CorrectedDataset
from nnunet_ext.phantoms.dataset import write_nifti
from nnunet_ext.semi_supervised.raw_images import find_unlabelled

NEW = "Dataset961_Blobs"


def new_dataset(blobs, *, ignores=True):
    return CorrectedDataset(
        RawDataset.read(blobs.raw), blobs.root / "raw" / NEW, blobs.root / "preprocessed" / NEW, ignores
    )


def plans_of(blobs):
    return json.loads((blobs.root / "preprocessed" / DATASET / "nnUNetPlans.json").read_text())


def correct(blobs, number, new, flagged=(1, 2), tau=0.9):
    """Correct one case with the temperature 1."""
    predictions = blobs.find()
    (case,) = (case for case in predictions.cases if case.name == f"case_{number:02d}")

    def write(folder):
        correcting = Correcting(new.source.description, predictions.plans, {0: 1.0, 1: 1.0}, tau, new.ignore, folder)
        return dict([correcting.write((case, flagged))])

    return new.write(plans_of(blobs), write)


def test_without_suspects_it_is_identical_and_all_links(blobs):
    (blobs.raw / "imagesUn").mkdir()
    (blobs.raw / "imagesUn" / "more_0000.nii.gz").write_bytes(b"")
    new = new_dataset(blobs)
    assert new.write(plans_of(blobs), lambda folder: {}) == {}
    for file in (path for path in blobs.raw.rglob("*") if path.is_file()):
        twin = new.place / file.relative_to(blobs.raw)
        assert twin.resolve() == file.resolve(), "a link"
        assert twin.read_bytes() == file.read_bytes()
    assert len(list(new.place.iterdir())) == len(list(blobs.raw.iterdir()))


def test_folds_plans_and_fingerprint_are_those_of_the_source(blobs):
    new = new_dataset(blobs)
    new.write(plans_of(blobs), lambda folder: {})
    source = blobs.root / "preprocessed" / DATASET
    for name in ("splits_final.json", "dataset_fingerprint.json"):
        assert json.loads((new.planned / name).read_text()) == json.loads((source / name).read_text())
    assert json.loads((new.planned / "nnUNetPlans.json").read_text()) == plans_of(blobs) | {"dataset_name": NEW}
    (source / "splits_final.json").unlink()
    again = CorrectedDataset(
        new.source, blobs.root / "raw/Dataset962_B", blobs.root / "preprocessed/Dataset962_B", True
    )
    again.write(plans_of(blobs), lambda folder: {})
    folds = json.loads((again.planned / "splits_final.json").read_text())
    assert len(folds) == 5, "nnU-Net's default, written down"


def test_ignored_voxels(blobs):
    blobs.change(3, lambda labels: np.roll(labels, 3, 0))
    before, predicted = blobs.read(blobs.label(3)), blobs.read(blobs.prediction(3))
    new = new_dataset(blobs)
    changes = correct(blobs, 3, new)
    file = new.place / "labelsTr" / "case_03.nii.gz"
    after = blobs.read(file)
    changed = after != before
    assert not file.is_symlink()
    assert set(np.unique(after[changed])) == {3}
    assert (before != predicted)[changed].all()
    assert changed.sum() > 0.7 * (before != predicted).sum()
    assert sum(changes["case_03"].values()) == changed.sum()
    assert np.array_equal(nibabel.load(file).affine, nibabel.load(blobs.label(3)).affine)
    assert json.loads((new.place / "dataset.json").read_text())["labels"] == LABELS | {"ignore": 3}
    assert json.loads((new.planned / "dataset.json").read_text())["labels"] == LABELS | {"ignore": 3}
    links = [path for path in new.place.rglob("*.nii.gz") if path.is_symlink()]
    assert len(links) == 2 * 12 - 1
    with (new.place / "changed_voxels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["label after"] for row in rows} == {"3"}
    assert sum(int(row["voxels"]) for row in rows) == changed.sum()


def test_replaced_voxels(blobs):
    blobs.change(3, lambda labels: np.array([0, 2, 1])[labels])
    new = new_dataset(blobs, ignores=False)
    correct(blobs, 3, new)
    after, predicted = blobs.read(new.place / "labelsTr" / "case_03.nii.gz"), blobs.read(blobs.prediction(3))
    assert ((after == predicted) | (after == blobs.read(blobs.label(3)))).all()
    assert (after == predicted)[predicted > 0].mean() > 0.7
    assert json.loads((new.place / "dataset.json").read_text())["labels"] == LABELS


def dropping(blobs, *numbers):
    new = new_dataset(blobs, ignores=False)
    return dataclasses.replace(new, dropped=[f"case_{number:02d}" for number in numbers])


def test_dropped_cases_are_unlabelled_and_in_no_fold(blobs):
    (blobs.raw / "imagesUn").mkdir()
    (blobs.raw / "imagesUn" / "more_0000.nii.gz").write_bytes(b"")
    blobs.describe(annotated={"case_03": ["liver"], "case_04": ["liver"]})
    splits = blobs.root / "preprocessed" / DATASET / "splits_final.json"
    first, *rest = json.loads(splits.read_text())
    out = [case for case in first["train"] if case in ("case_03", "case_05")][:1]
    first = {"train": [case for case in first["train"] if case not in out], "val": first["val"], "unused": out}
    splits.write_text(json.dumps([first, *rest]))
    new = dropping(blobs, 3, 5)
    new.write(plans_of(blobs), lambda folder: {})
    assert sorted(file.name for file in (new.place / "imagesUn").iterdir()) == [
        "case_03_0000.nii.gz",
        "case_05_0000.nii.gz",
        "more_0000.nii.gz",
    ]
    kept = [f"case_{number:02d}" for number in range(12) if number not in (3, 5)]
    assert sorted(file.name.removesuffix(".nii.gz") for file in (new.place / "labelsTr").iterdir()) == kept
    assert sorted(file.name.removesuffix("_0000.nii.gz") for file in (new.place / "imagesTr").iterdir()) == kept
    description = json.loads((new.place / "dataset.json").read_text())
    assert description["numTraining"] == 10
    assert description["annotated"] == {"case_04": ["liver"]}
    assert description["labels"] == LABELS
    source = json.loads((blobs.root / "preprocessed" / DATASET / "splits_final.json").read_text())
    folds = json.loads((new.planned / "splits_final.json").read_text())
    assert folds == [{key: [case for case in cases if case in kept] for key, cases in fold.items()} for fold in source]
    assert out
    assert folds[0]["unused"] == []
    assert folds != source


def test_raters_and_folds_of_the_raw_dataset_lose_dropped_cases(blobs):
    """nnU-Net's planning compares the folds in nnUNet_raw with those in nnUNet_preprocessed."""
    for rater in ("anna", "ben"):
        (blobs.raw / "labelsTr_raters" / rater).mkdir(parents=True)
        for number in (3, 4):
            shutil.copy(blobs.label(number), blobs.raw / "labelsTr_raters" / rater)
    (blobs.raw / "labelsTr_raters" / "zoe").mkdir()  # who rated dropped cases alone is no rater any more
    shutil.copy(blobs.label(3), blobs.raw / "labelsTr_raters" / "zoe")
    splits = blobs.root / "preprocessed" / DATASET / "splits_final.json"
    folds = [fold | {"site": site} for fold, site in zip(json.loads(splits.read_text()), "ab", strict=True)]
    for file in (splits, blobs.raw / "splits_final.json"):
        file.write_text(json.dumps(folds))
    new = dropping(blobs, 3)
    new.write(plans_of(blobs), lambda folder: {})
    raters = new.place / "labelsTr_raters"
    assert sorted(place.name for place in raters.iterdir()) == ["anna", "ben"]
    assert {file.relative_to(raters).as_posix() for file in raters.rglob("*.gz")} == {
        "anna/case_04.nii.gz",
        "ben/case_04.nii.gz",
    }
    found = [json.loads((place / "splits_final.json").read_text()) for place in (new.place, new.planned)]
    assert found[0] == found[1]
    assert [fold["site"] for fold in found[0]] == ["a", "b"]
    assert "case_03" not in str(found)
    assert json.loads((blobs.raw / "splits_final.json").read_text()) == folds


def test_dropped_cases_beside_listed_unlabelled_ones(blobs):
    more = blobs.root / "more_0000.nii.gz"
    more.write_bytes(b"")
    blobs.describe(unlabelled={"more": {"images": [str(more)]}})
    new = dropping(blobs, 3)
    new.write(plans_of(blobs), lambda folder: {})
    assert not (new.place / "imagesUn").exists()
    cases = {case.name: case.images[0].resolve() for case in find_unlabelled(new.place)}
    assert cases == {"more": more, "case_03": (blobs.raw / "imagesTr" / "case_03_0000.nii.gz").resolve()}


def test_a_fold_of_dropped_cases_alone(blobs):
    folds = json.loads((blobs.root / "preprocessed" / DATASET / "splits_final.json").read_text())
    new = dropping(blobs, *(int(case[-2:]) for case in folds[1]["val"]))
    with pytest.raises(UserError, match="fold 0, 'train': expected a case that is not suspect, found none"):
        new.write(plans_of(blobs), lambda folder: {})
    assert not new.place.exists()
    assert not new.planned.exists()


def test_only_flagged_classes_and_confident_voxels(blobs):
    blobs.change(3, lambda labels: np.roll(labels, 3, 0))
    before = blobs.read(blobs.label(3))
    correct(blobs, 3, new_dataset(blobs), flagged=(1,))
    after = blobs.read(blobs.root / "raw" / NEW / "labelsTr" / "case_03.nii.gz")
    assert set(np.unique(before[after != before])) == {0, 1}
    other = CorrectedDataset(RawDataset.read(blobs.raw), blobs.root / "raw/Dataset962_B", blobs.root / "P", True)
    assert correct(blobs, 3, other, tau=0.999999) == {"case_03": {}}
    assert (other.place / "labelsTr" / "case_03.nii.gz").is_symlink()


def test_an_ignore_label_that_is_there_is_used_and_kept(blobs):
    blobs.describe(labels=LABELS | {"ignore": 3})

    def spoil(labels):
        moved = np.roll(labels, 3, 0)
        moved[:, :, :4] = 3
        return moved

    blobs.change(3, spoil)
    new = new_dataset(blobs)
    assert new.ignore == 3
    correct(blobs, 3, new)
    after = blobs.read(new.place / "labelsTr" / "case_03.nii.gz")
    assert (after[:, :, :4] == 3).all()
    assert (after[:, :, 4:] == 3).any()


def test_the_ignore_label_follows_the_largest_of_a_region(blobs):
    blobs.describe(labels={"background": 0, "organs": [1, 2], "spleen": [2]}, regions_class_order=[1, 2])
    assert new_dataset(blobs).ignore == 3


@pytest.mark.parametrize("part", ["raw", "preprocessed"])
def test_what_is_there_is_not_overwritten(blobs, part):
    (blobs.root / part / NEW).mkdir()
    with pytest.raises(UserError, match=f"{NEW}: expected no folder, found one"):
        new_dataset(blobs).write(plans_of(blobs), lambda folder: {})


def test_nothing_is_left_of_what_failed(blobs):
    def fail(folder):
        raise UserError("damaged")

    new = new_dataset(blobs)
    with pytest.raises(UserError, match="damaged"):
        new.write(plans_of(blobs), fail)
    assert sorted(os.listdir(blobs.root / "raw")) == [DATASET]
    assert sorted(os.listdir(blobs.root / "preprocessed")) == [DATASET]


def test_no_probabilities(blobs):
    (blobs.validation(3) / "case_03.npz").unlink()
    with pytest.raises(UserError, match=r"case_03.nii.gz: expected probabilities \(.npz\) beside it, .* found none"):
        correct(blobs, 3, new_dataset(blobs))


def test_a_dataset_that_lists_its_files(blobs):
    """dataset.json of a copy by hide_labels names files elsewhere; the new dataset has them in their usual places."""
    listed = {
        f"case_{number:02d}": {
            "images": [f"../{DATASET}_files/case_{number:02d}_0000.nii.gz"],
            "label": f"../{DATASET}/labelsTr/case_{number:02d}.nii.gz",
        }
        for number in range(12)
    }
    (blobs.raw / "imagesTr").rename(blobs.root / "raw" / f"{DATASET}_files")
    blobs.describe(dataset=listed)
    new = new_dataset(blobs)
    new.write(plans_of(blobs), lambda folder: {})
    found = RawDataset.read(new.place)
    assert "dataset" not in found.description
    assert [case.name for case in found.cases()] == sorted(listed)
    assert all(file.is_file() for case in found.cases() for file in (*case.images, case.label))


def test_labels_that_are_in_the_same_regions_do_not_differ(blobs):
    blobs.describe(labels={"background": 0, "organs": [1, 2]}, regions_class_order=[1])
    for file in blobs.root.rglob("*.npz"):
        np.savez_compressed(file, probabilities=np.load(file)["probabilities"][1:].sum(0, keepdims=True))
    for number in range(12):
        chances = np.load(blobs.validation(number) / f"case_{number:02d}.npz")["probabilities"]
        write_nifti(blobs.prediction(number), (chances[0] > 0.5).astype(np.uint8), SPACING)
    blobs.change(3, lambda labels: np.roll(labels, 3, 0))
    before, predicted = blobs.read(blobs.label(3)), blobs.read(blobs.prediction(3))
    new = new_dataset(blobs)
    correct(blobs, 3, new)
    changed = blobs.read(new.place / "labelsTr" / "case_03.nii.gz") != before
    assert changed.any()
    assert ((before > 0) != (predicted > 0))[changed].all()
    assert (before == 2).any()
