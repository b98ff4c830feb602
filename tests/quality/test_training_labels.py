"""Training labels are found, measured once, and left out where they say nothing."""

from __future__ import annotations

import json
import logging
import os

import nibabel
import numpy as np
import pytest

from nnunet_ext.quality.grid import Grid
from nnunet_ext.quality.measured_map import MeasuredMap
from nnunet_ext.quality.model_files import ModelFiles
from nnunet_ext.quality.training_labels import training_labels


@pytest.fixture
def few(torsos):
    """Of the training cases, the first three."""
    for file in sorted((torsos.root / "raw" / "Dataset950_Torso" / "labelsTr").iterdir())[3:]:
        file.unlink()
    return torsos


def measure(torsos):
    return training_labels(ModelFiles.read(torsos.model), torsos.root / "cache.json", show_progress=False)


def labels_of(torsos):
    return sorted((torsos.root / "raw" / "Dataset950_Torso" / "labelsTr").iterdir())


def test_measures_of_each_case(few):
    found = measure(few)
    expected = []
    for file in labels_of(few):
        labels = np.asarray(nibabel.load(file).dataobj).T
        affine = np.diag([-1.0, -1.0, 2.5, 1.0])  # LPS of a file that runs to the right, head and front
        expected.append(MeasuredMap.of(labels, Grid(labels.shape, (2.5, 1.0, 1.0), affine), {"liver": 1, "spleen": 2}))
    assert len(found) == 3
    for one, other in zip(found, expected, strict=True):
        assert one.orientation == other.orientation == "RAS"
        for name, measures in one.classes.items():
            assert measures.size == pytest.approx(other.classes[name].size)
            assert measures.centre == pytest.approx(other.classes[name].centre)


def test_they_are_measured_once(few, caplog):
    caplog.set_level(logging.INFO, "nnunet_ext")
    first = measure(few)
    assert caplog.messages == []
    assert measure(few) == first
    assert caplog.messages == [f"{few.root / 'cache.json'}: 3 training labels were measured before"]
    caplog.clear()
    file = labels_of(few)[0]
    os.utime(file, ns=(1, 1))
    measure(few)
    assert caplog.messages == []
    (few.root / "cache.json").write_text("{")
    assert measure(few) == first
    assert caplog.messages[0].startswith(f"the training labels are measured again: {few.root / 'cache.json'}: expected")
    description = json.loads((few.model / "dataset.json").read_text())
    description["labels"] = {"background": 0, "torso": 1, "spleen": 2}
    (few.model / "dataset.json").write_text(json.dumps(description))
    assert list(measure(few)[0].classes) == ["torso", "spleen"]


def test_preprocessed_labels_come_first(few):
    folder = few.root / "preprocessed" / "Dataset950_Torso" / "gt_segmentations"
    folder.mkdir(parents=True)
    for file in labels_of(few)[:2]:
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "._case_000.nii.gz").write_bytes(b"of macOS")
    assert len(measure(few)) == 2


def test_none_are_found(few, caplog):
    for file in labels_of(few):
        file.unlink()
    assert measure(few) == []
    assert caplog.messages == [
        "no training labels of Dataset950_Torso were found in nnUNet_preprocessed or nnUNet_raw: predictions are not "
        "compared with them"
    ]
    assert not (few.root / "cache.json").exists()


def test_damaged_and_partly_annotated_cases_are_left_out(few, caplog):
    caplog.set_level(logging.INFO, "nnunet_ext")
    description = json.loads((few.model / "dataset.json").read_text())
    description["labels"]["ignore"] = 3
    (few.model / "dataset.json").write_text(json.dumps(description))
    first, second, _ = labels_of(few)
    first.write_bytes(first.read_bytes()[:-100])
    stored = nibabel.load(second)
    labels = np.array(stored.dataobj)
    labels[0, 0, 0] = 3
    nibabel.save(nibabel.Nifti1Image(labels, stored.affine), second)
    assert len(measure(few)) == 1
    assert caplog.messages[0].startswith(f"a training label is left out: {first}: expected an intact image, but it is")
    assert caplog.messages[1:] == [
        "training cases that are left out, because a part is not annotated (label ignore): 1"
    ]


def test_any_error_leaves_out_one_case(few, caplog, monkeypatch):
    first, *_ = labels_of(few)
    works = MeasuredMap.of

    def fails(labels, *arguments):
        if np.array_equal(labels, np.asarray(nibabel.load(first).dataobj).T):
            raise IndexError("index 0 is out of bounds")
        return works(labels, *arguments)

    monkeypatch.setattr(MeasuredMap, "of", fails)
    assert len(measure(few)) == 2
    assert caplog.messages == [f"a training label is left out: {first}: index 0 is out of bounds"]


def test_an_affine_of_zeros_leaves_out_one_case(few, caplog):
    plans = few.model / "plans.json"
    plans.write_text(json.dumps(json.loads(plans.read_text()) | {"image_reader_writer": "NibabelIO"}))
    first, *_ = labels_of(few)
    stored = nibabel.load(first)
    spoiled = nibabel.Nifti1Image(np.asarray(stored.dataobj), None, stored.header)
    spoiled.header.set_sform(np.zeros((4, 4)), 1)
    spoiled.header["qform_code"] = 0
    nibabel.save(nibabel.Nifti1Image(np.asarray(stored.dataobj), np.diag([0, 0, 0, 1]), spoiled.header), first)
    assert len(measure(few)) == 2
    assert caplog.messages[0].startswith(f"a training label is left out: {first}: expected three axes that span space")


def test_classes_that_were_not_annotated_in_a_case(few):
    description = json.loads((few.model / "dataset.json").read_text())
    description["annotated"] = {"case_001": ["liver"]}
    (few.model / "dataset.json").write_text(json.dumps(description))
    assert [list(case.classes) for case in measure(few)] == [["liver", "spleen"], ["liver"], ["liver", "spleen"]]
