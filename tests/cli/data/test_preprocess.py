"""``nnunet_ext preprocess``: what is missing is done, and nothing else; a training on half of it is refused."""

import json
from pathlib import Path

import blosc2
import nibabel
import numpy as np
import pytest
from data_holder import data_holder
from lock_holder import lock_holder

from nnunet_ext import sockets
from nnunet_ext.cli.main import main

PREPROCESS = "preprocess -d 901 -p LitePlans -c 3d_fullres -np 1 --no_pbar"
TRAIN = "train 901 3d_fullres 0 -tr NNUNetBaselineTrainer -p LitePlans -device cpu"


@pytest.fixture
def folder(preprocessed_phantom, monkeypatch):
    """The dataset's folder in nnUNet_preprocessed, complete; trainings end before they begin."""
    monkeypatch.setenv(sockets.VARIABLE, "")
    monkeypatch.setattr("nnunetv2.run.run_training.run_training_entry", lambda: None)
    return preprocessed_phantom / "preprocessed/Dataset901_Phantom"


def times(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in (folder / "LitePlans_3d_fullres").iterdir()}


def written(folder: Path, before: dict[str, int]) -> set[str]:
    """Names of the cases that were preprocessed since."""
    changed = {name for name, time in times(folder).items() if time != before.get(name)}
    return {name.removesuffix(".pkl") for name in changed if name.endswith(".pkl")}


def array(folder: Path, name: str) -> np.ndarray:
    return blosc2.open(str(folder / f"LitePlans_3d_fullres/{name}.b2nd"))[:]


def refused(folder: Path, mistake) -> str:
    text = mistake(TRAIN)
    start = f"{folder / 'LitePlans_3d_fullres'}: expected preprocessed data of plans 'LitePlans', "
    assert text.startswith(start)
    assert text.endswith(". Run nnunet_ext preprocess -d 901 -p LitePlans -c 3d_fullres")
    return text.removeprefix(start)


def test_complete_data(folder, capfd):
    before = times(folder)
    assert main(TRAIN.split()) == 0
    assert main(PREPROCESS.split()) == 0
    assert "3d_fullres: already preprocessed (--clean repeats it)" in capfd.readouterr().out
    assert times(folder) == before
    assert (
        main(["plan_and_preprocess", *["-d", "901", "-pl", "LitePlanner", "-c", "3d_fullres", "-np", "1", "--no_pbar"]])
        == 0
    )
    assert times(folder) == before


def test_what_an_interruption_left_is_completed(folder, mistake):
    """The files of one case never came, of another one is truncated; labels were not copied yet, one half."""
    arrays = {name: array(folder, name) for name in ("case_001", "case_001_seg", "case_002", "case_002_seg")}
    place, truths = folder / "LitePlans_3d_fullres", folder / "gt_segmentations"
    marker = folder / "LitePlans_3d_fullres.complete.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"files": None}))
    for file in place.glob("case_002*"):
        file.unlink()
    half = place / "case_001_seg.b2nd"
    half.write_bytes(half.read_bytes()[:-10])
    (truths / "case_002.nii.gz").unlink()
    whole = (truths / "case_001.nii.gz").read_bytes()
    (truths / "case_001.nii.gz").write_bytes(whole[:100])
    assert refused(folder, mistake).startswith("found 1 of 3 cases, without case_001 (and 1 more case): preprocessing")
    before = times(folder)
    assert main(PREPROCESS.split()) == 0
    assert written(folder, before) == {"case_001", "case_002"}
    assert all(np.array_equal(array(folder, name), expected) for name, expected in arrays.items())
    assert (truths / "case_001.nii.gz").read_bytes() == whole
    assert len(list(truths.iterdir())) == 3
    assert not list(folder.glob("*.partial"))
    assert main(TRAIN.split()) == 0


def test_a_corrected_label_and_a_case_that_is_gone(folder, mistake):
    raw = folder.parents[1] / "raw/Dataset901_Phantom"
    label = raw / "labelsTr/case_001.nii.gz"
    correct(label)
    (raw / "imagesTr/case_002_0000.nii.gz").unlink()
    (raw / "labelsTr/case_002.nii.gz").unlink()
    assert refused(folder, mistake).startswith("found case case_002, which the dataset no longer has")
    before = times(folder)
    assert main(PREPROCESS.split()) == 0
    assert written(folder, before) == {"case_001"}
    assert array(folder, "case_001_seg").max() == 0
    assert (folder / "gt_segmentations/case_001.nii.gz").read_bytes() == label.read_bytes()
    assert not list((folder / "LitePlans_3d_fullres").glob("case_002*"))


def correct(label: Path) -> None:
    """Delete all that is labelled."""
    image = nibabel.load(label)
    nibabel.save(nibabel.Nifti1Image(np.zeros_like(np.asarray(image.dataobj)), image.affine), label)


def test_a_corrected_label_alone(folder, mistake):
    correct(folder.parents[1] / "raw/Dataset901_Phantom/labelsTr/case_001.nii.gz")
    assert refused(folder, mistake).startswith("found case case_001 from before ")
    before = times(folder)
    assert main(PREPROCESS.split()) == 0
    assert written(folder, before) == {"case_001"}


def test_a_case_that_is_gone_alone(folder):
    raw = folder.parents[1] / "raw/Dataset901_Phantom"
    (raw / "imagesTr/case_002_0000.nii.gz").unlink()
    (raw / "labelsTr/case_002.nii.gz").unlink()
    before = times(folder)
    assert main(PREPROCESS.split()) == 0
    assert written(folder, before) == set()
    assert not list((folder / "LitePlans_3d_fullres").glob("case_002*"))


def test_new_cases_are_checked(folder, mistake):
    """A label that is not there yet, then one that is broken."""
    raw = folder.parents[1] / "raw/Dataset901_Phantom"
    (raw / "imagesTr/case_003_0000.nii.gz").write_bytes((raw / "imagesTr/case_001_0000.nii.gz").read_bytes())
    file = raw / "dataset.json"
    file.write_text(file.read_text().replace('"numTraining": 3', '"numTraining": 4'))
    before = times(folder)
    label = raw / "labelsTr/case_003.nii.gz"
    assert mistake(PREPROCESS).startswith(f"{label}: expected the label of a training case, found no file")
    label.write_bytes((raw / "labelsTr/case_001.nii.gz").read_bytes()[:-100])
    assert mistake(PREPROCESS).startswith(f"{label}: expected an intact image")
    assert times(folder) == before
    label.write_bytes((raw / "labelsTr/case_001.nii.gz").read_bytes())
    assert main(PREPROCESS.split()) == 0
    assert written(folder, before) == {"case_003"}


def test_a_killed_worker_of_nnunet_is_one_line(folder, mistake, monkeypatch):
    def die(*_: object) -> None:
        raise RuntimeError("Some background worker is 6 feet under. Yuck. This may be due to out of memory")

    monkeypatch.setattr("nnunetv2.experiment_planning.plan_and_preprocess_api.preprocess_dataset", die)
    text = mistake(f"{PREPROCESS} --clean --stock_resampling")
    assert text.startswith(
        f"{folder / 'LitePlans_3d_fullres'}: expected to preprocess with 1 processes, one was killed"
    )
    monkeypatch.setattr("nnunetv2.experiment_planning.plan_and_preprocess_api.extract_fingerprints", die)
    text = mistake("plan_and_preprocess -d 901 -pl LitePlanner --no_pp --no_pbar --no_check")
    assert text.endswith("Run it again with -npfp 1: without --clean, what is done is kept.")


def test_who_resamples_is_said(folder, capfd):
    """Not if there is nothing to do."""
    before = times(folder)
    for words, by in (
        (f"{PREPROCESS} --clean", "nnunet_ext"),
        (f"{PREPROCESS} --clean --stock_resampling", "nnU-Net, as asked"),
    ):
        assert main(words.split()) == 0
        assert f"3d_fullres: images and labels are resampled by {by}\n" in capfd.readouterr().out
        assert len(written(folder, before)) == 3
        before = times(folder)
    assert main(PREPROCESS.split()) == 0
    assert "resampled" not in capfd.readouterr().out


def test_other_plans_begin_again(folder, mistake):
    file = folder / "LitePlans.json"
    plans = json.loads(file.read_text())
    plans["configurations"]["3d_fullres"]["spacing"][0] *= 2
    file.write_text(json.dumps(plans))
    assert refused(folder, mistake).startswith("found those of earlier plans or labels: they were planned again since")
    before, shape = times(folder), array(folder, "case_000").shape
    assert main(PREPROCESS.split()) == 0
    assert len(written(folder, before)) == 3
    assert array(folder, "case_000").shape[1] < shape[1]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("-d 901 -p LitePlans -c 3d_fulres", "-c 3d_fulres: not in plans 'LitePlans'. Did you mean '3d_fullres'?"),
        ("-d 901 -p LitePlans -np 0", "-np 0: expected at least 1 process."),
        ("-d 901 -p LitPlans", "expected plans, found no file. Did you mean 'LitePlans'?"),
    ],
)
def test_wrong_words(nnunet, mistake, words, text):
    assert text in mistake(f"preprocess {words}")


def test_a_collection_is_planned_as_a_whole(pair, mistake):
    assert mistake("preprocess -d 900 -p CollectionLitePlans") == (
        "-p CollectionLitePlans: expected plans of a dataset, got those of the collection Dataset900_Pair. Run "
        "nnunet_ext plan_and_preprocess -d 900 -pl CollectionLitePlanner"
    )


def test_nothing_changes_under_a_training(folder, mistake):
    """A training in another process holds the data as they are; what would change nothing goes through."""
    data = folder / "LitePlans_3d_fullres"
    before = times(folder)
    with data_holder(data):
        assert main(PREPROCESS.split()) == 0
        assert mistake(f"{PREPROCESS} --clean").startswith(f"{data}: expected data that nobody uses, found a training")
        assert times(folder) == before
    assert main([*PREPROCESS.split(), "--clean"]) == 0
    assert written(folder, before) == {"case_000", "case_001", "case_002"}


def test_one_at_a_time_in_a_dataset(folder, mistake):
    with lock_holder(folder) as process:
        assert f"found training, process {process.pid}" in mistake(PREPROCESS)
