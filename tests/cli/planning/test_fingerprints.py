"""Datasets whose images are all unlabelled, from raw images to preprocessed ones, by ``plan_and_preprocess``."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

from nnunet_ext.cli.main import main
from nnunet_ext.cli.planning.fingerprints import is_of_other_cases
from nnunet_ext.data.preprocessed.state import PreprocessedState, preprocessed_cases
from nnunet_ext.files.json_file import read_json, write_json
from nnunet_ext.phantoms.dataset import write_nifti, write_phantom_dataset
from nnunet_ext.semi_supervised.images_alone.planning import planner_of_images_alone
from nnunet_ext.semi_supervised.preprocessing import check_unlabelled, preprocess_unlabelled

NAME, OTHER = "Dataset907_Scans", "Dataset908_Labelled"
PLAN = "plan_and_preprocess -d 907 -pl LitePlanner -c 3d_fullres -np 1 -npfp 1 --no_pbar"


@pytest.fixture
def raw(nnunet: Path) -> Path:
    """Five images of two channels without labels, one of them with an empty border and corner."""
    folder = write_phantom_dataset(nnunet / "raw", NAME, cases=0, unlabelled=5, shape=(12, 32, 32), channels=2)
    for file in folder.glob("imagesUn/unlabelled_002_*"):
        image = nibabel.load(file)
        array = image.get_fdata().astype(np.float32)
        array[:6] = array[6:16, :12] = 0
        nibabel.save(nibabel.Nifti1Image(array, image.affine), file)
    return folder


def describe(raw: Path, *without: str, **changes: Any) -> None:
    content = {key: value for key, value in read_json(raw / "dataset.json").items() if key not in without}
    write_json(raw / "dataset.json", content | changes)


def labelled_twin(raw: Path) -> Path:
    """The same images as training cases, whose label is what is not zero."""
    twin = raw.with_name(OTHER)
    (twin / "labelsTr").mkdir(parents=True)
    shutil.copytree(raw / "imagesUn", twin / "imagesTr")
    for file in twin.glob("imagesTr/*_0000.nii.gz"):
        image = nibabel.load(file)
        mask = (image.get_fdata() != 0).astype(np.uint8).transpose(2, 1, 0)
        spacing = tuple(float(step) for step in reversed(image.header.get_zooms()))
        write_nifti(twin / "labelsTr" / file.name.replace("_0000", ""), mask, spacing)  # type: ignore[arg-type]
    shutil.copy(raw / "dataset.json", twin)
    describe(twin, numTraining=5, labels={"background": 0, "all": 1})
    return twin


@pytest.mark.parametrize("described", [(), ("labels", "numTraining")])
def test_plans_are_those_of_labelled_cases(nnunet: Path, raw: Path, described: tuple[str, ...]) -> None:
    describe(raw, *described, **({} if described else {"labels": {"background": 0}}))
    before = (raw / "dataset.json").read_bytes()
    assert main([*PLAN.split(), "--clean"]) == 0
    labelled_twin(raw)
    assert main([*PLAN.replace("907", "908").split(), "--no_pp"]) == 0
    one, other = (nnunet / "preprocessed" / name for name in (NAME, OTHER))
    assert read_json(one / "dataset_fingerprint.json") == read_json(other / "dataset_fingerprint.json")
    plans, twins = (read_json(place / "LitePlans.json") for place in (one, other))
    assert plans | {"dataset_name": OTHER} == twins
    assert plans["experiment_planner_used"] == "LitePlanner"
    assert (raw / "dataset.json").read_bytes() == before
    assert sorted(path.name for path in raw.iterdir()) == ["dataset.json", "imagesUn"]


def test_a_network_with_a_class_is_planned(nnunet: Path, raw: Path) -> None:
    assert main([*PLAN.split(), "--no_pp"]) == 0
    for labels, planned in (({"background": 0}, 2), ({"background": 0, "a": 1, "b": 2}, 3)):
        describe(raw, labels=labels)
        found = planner_of_images_alone(ExperimentPlanner)(NAME).dataset_json
        assert len(found["labels"]) == planned
        assert found["numTraining"] == 5


def test_data_of_unlabelled_images_alone(nnunet: Path, raw: Path) -> None:
    assert main([*PLAN.split(), "--verify_dataset_integrity"]) == 0
    place = nnunet / "preprocessed" / NAME
    plans = read_json(place / "LitePlans.json")
    assert check_unlabelled(place, plans, "3d_fullres", raw) == [f"unlabelled_{number:03d}" for number in range(5)]
    assert list((place / "LitePlans_3d_fullres").iterdir()) == []
    description = read_json(place / "dataset.json")
    assert description["numTraining"] == 0
    assert set(description["labels"]) == {"background", "organ", "wall", "tumour"}
    assert "dataset" not in description


def test_an_existing_fingerprint_is_kept(nnunet: Path, raw: Path) -> None:
    assert main([*PLAN.split(), "--no_pp"]) == 0
    file = nnunet / "preprocessed" / NAME / "dataset_fingerprint.json"
    write_json(file, read_json(file) | {"mine": 1})
    assert main([*PLAN.split(), "--no_pp"]) == 0
    assert "mine" in read_json(file)
    assert main([*PLAN.split(), "--no_pp", "--clean"]) == 0
    assert "mine" not in read_json(file)
    file.write_text('{"spac')
    assert main([*PLAN.split(), "--no_pp"]) == 0
    assert "spacings" in read_json(file)


def test_labels_that_come_later_and_go(nnunet: Path, raw: Path) -> None:
    """The fingerprint is taken again, and no labelled case is left over."""
    describe(raw, "labels")
    assert main([*PLAN.split(), "--no_pp"]) == 0
    file = nnunet / "preprocessed" / NAME / "dataset_fingerprint.json"
    alone = read_json(file)
    assert not is_of_other_cases(raw)
    twin = labelled_twin(raw)
    for file_of in [*sorted(twin.glob("imagesTr/*_003_*")), twin / "labelsTr/unlabelled_003.nii.gz"]:
        file_of.unlink()
    for part in ("imagesTr", "labelsTr"):
        shutil.move(twin / part, raw / part)
    images = raw / "imagesUn"
    images.rename(raw / "kept")
    describe(raw, numTraining=4, labels={"background": 0, "all": 1})
    assert is_of_other_cases(raw)
    assert main(PLAN.split()) == 0
    assert len(read_json(file)["spacings"]) == 4
    place = nnunet / "preprocessed" / NAME / "LitePlans_3d_fullres"
    assert len(preprocessed_cases(place)) == 4

    for part in ("imagesTr", "labelsTr"):
        shutil.rmtree(raw / part)
    (raw / "kept").rename(images)
    describe(raw, numTraining=0)
    assert main(PLAN.split()) == 0
    assert read_json(file) == alone
    assert list(place.iterdir()) == []
    state = PreprocessedState(place.parent, read_json(place.parent / "LitePlans.json"), "3d_fullres")
    assert not state.marker.sizes()


WITHOUT_LABELS = {
    "preprocess -d 907 -p LitePlans": "expected labelled cases in imagesTr and labelsTr, found unlabelled images alone",
    "preprocess -d 907 -p LitePlans --no_check": "found a dataset without a labelled case",
    "hide_labels -d 907 -o 909 --keep 1": "expected labelled cases in imagesTr and labelsTr, found unlabelled images",
    "collect -d 910 -n Both 901 907": "expected labelled cases in imagesTr and labelsTr, found unlabelled images alone",
    "train 907 3d_fullres 0 -tr BANetTrainer -p LitePlans -device cpu": "found a dataset without a labelled case",
    "train 907 3d_fullres all -tr nnUNetTrainer -p LitePlans -device cpu": "found a dataset without a labelled case",
}


def test_what_needs_labels_says_so(nnunet: Path, raw: Path, mistake: Callable[[str], str]) -> None:
    assert main(PLAN.split()) == 0
    for words, text in WITHOUT_LABELS.items():
        assert text in mistake(words), words


def _no_images(raw: Path) -> None:
    for file in (raw / "imagesUn").iterdir():
        file.unlink()


def _one_channel_short(raw: Path) -> None:
    (raw / "imagesUn/unlabelled_001_0001.nii.gz").unlink()


def _other_name(raw: Path) -> None:
    (raw / "imagesUn/unlabelled_001_0001.nii.gz").rename(raw / "imagesUn/scan.nii.gz")


def _damaged(raw: Path) -> None:
    file = raw / "imagesUn/unlabelled_001_0001.nii.gz"
    file.write_bytes(file.read_bytes()[:-100])


def _labels_alone(raw: Path) -> None:
    (raw / "labelsTr").mkdir()
    shutil.copy(raw / "imagesUn/unlabelled_001_0001.nii.gz", raw / "labelsTr/unlabelled_001.nii.gz")


def _archived(raw: Path) -> None:
    describe(raw, numTraining=3)


def _swapped(raw: Path) -> None:
    describe(raw, channel_names={"CT": "0", "T1": "1"})


def _bad_labels(raw: Path) -> None:
    describe(raw, labels={"background": 0, "organ": 2})


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (_no_images, "expected images named CASE_0000.nii.gz, found none"),
        (_one_channel_short, "expected 2 channels of case 'unlabelled_001' as in dataset.json, found 1"),
        (_other_name, "expected a name like CASE_0000.nii.gz"),
        (_damaged, "expected an intact image"),
        (_labels_alone, "imagesTr: expected images named CASE_0000.nii.gz, found none"),
        (_archived, "imagesTr: expected images named CASE_0000.nii.gz, found none"),
        (_swapped, "the other way round"),
        (_bad_labels, "expected labels 0, 1, 2, ... without a gap"),
    ],
)
def test_mistakes_stop_before_anything_is_written(
    nnunet: Path, raw: Path, mistake: Callable[[str], str], spoil: Callable[[Path], None], text: str
) -> None:
    spoil(raw)
    assert text in mistake(PLAN)
    assert not (nnunet / "preprocessed" / NAME).exists()


def test_a_single_image_is_planned(nnunet: Path, raw: Path) -> None:
    """Whether it is enough to train on is for the trainer to say."""
    for file in (raw / "imagesUn").iterdir():
        if "_000_" not in file.name:
            file.unlink()
    assert main(PLAN.split()) == 0
    place = nnunet / "preprocessed" / NAME
    assert check_unlabelled(place, read_json(place / "LitePlans.json"), "3d_fullres", raw) == ["unlabelled_000"]
    assert json.loads((place / "LitePlans.json").read_text())["configurations"]["3d_fullres"]["batch_size"] == 2


def test_images_that_dataset_json_lists(nnunet: Path, raw: Path) -> None:
    """They may be elsewhere; they are preprocessed by existing plans, too."""
    (raw / "imagesUn").rename(raw / "elsewhere")
    cases = {
        name: [f"elsewhere/unlabelled_{name}_000{channel}.nii.gz" for channel in (0, 1)] for name in ("001", "002")
    }
    describe(raw, "labels", unlabelled={f"scan {name}": {"images": images} for name, images in cases.items()})
    assert main([*PLAN.split(), "--no_pp"]) == 0
    place = nnunet / "preprocessed" / NAME
    plans = read_json(place / "LitePlans.json")
    assert len(read_json(place / "dataset_fingerprint.json")["spacings"]) == 2
    preprocess_unlabelled(raw, place, plans, "3d_fullres", progress=False)
    assert check_unlabelled(place, plans, "3d_fullres", raw) == ["scan 001", "scan 002"]
