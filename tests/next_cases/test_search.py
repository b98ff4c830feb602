"""Which images are chosen, on small models with random weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from small_model import phantom, write_image, write_small_model

from nnunet_ext import sockets
from nnunet_ext.data.raw_dataset import list_images
from nnunet_ext.next_cases.image_features import ImageFeatures
from nnunet_ext.next_cases.search import Search
from nnunet_ext.prediction import Predictor
from nnunet_ext.prediction.trained_model import TrainedModel
from nnunet_ext.quality.model_files import ModelFiles

SPACING = (2.0, 1.0, 1.0)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv(sockets.VARIABLE, "")
    monkeypatch.delenv("nnUNet_raw", raising=False)
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)


@pytest.fixture
def images(tmp_path) -> Path:
    for number, name in enumerate("abcd"):
        write(tmp_path / "images", name, phantom((8, 16, 12), seed=number)[0])
    return tmp_path / "images"


def write(folder: Path, name: str, image: np.ndarray) -> None:
    write_image(folder / f"{name}_0000.nii.gz", image, SPACING)


def cases_of(images: Path):
    return list_images(images, ".nii.gz", 1)


def search(model: Path, images: Path, number: int, annotated=(), **options):
    scratch = images.with_name("scratch")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    made = Search(model, images, scratch, device="cpu", show_progress=False, **options)
    reference = images.with_name("reference.json")
    return made.suspicious(cases_of(images), number, ModelFiles.read(model), reference, annotated)


def names(found) -> list[str]:
    return [case.name for case in found.cases]


@pytest.mark.parametrize("folds", [(0,), (0, 1)])
def test_suspicion_by_disagreement_and_the_box(tmp_path, images, folds):
    model = write_small_model(tmp_path / "results", folds=folds)
    found = search(model, images, 4)
    assert found.failed == []
    suspicion = {case.name: case.quality.suspicion for case in found.cases}
    assert sorted(suspicion) == list("abcd")
    assert found.cases[0].name == max(suspicion, key=suspicion.__getitem__)
    assert all(0 < value < 1 for value in suspicion.values())
    scores = [case.choice.score for case in found.cases]
    assert scores == sorted(scores, reverse=True)
    # the draft is the ensemble's prediction
    image = phantom((8, 16, 12), seed=2)
    draft = np.asarray(nibabel.load(found.drafts / "c.nii.gz").dataobj).T
    np.testing.assert_array_equal(draft, Predictor(model, device="cpu").predict_array(image, SPACING))
    # each fold without mirroring, and the first with it
    runs = [Predictor(model, [fold], device="cpu", mirroring=False) for fold in folds]
    runs.append(Predictor(model, [0], device="cpu"))
    maps = [run.predict_array(image, SPACING) for run in runs]
    again = sorted(place.name for place in (tmp_path / "scratch" / "again").iterdir())
    assert again == (["0"] if folds == (0,) else ["0", "1", "2"])  # of one fold, the draft is the mirrored prediction
    (box,) = (case.box for case in found.cases if case.name == "c")
    differ = np.any([each != maps[0] for each in maps], 0)
    counts = {
        (z, y, x): differ[z : z + 4, y : y + 8, x : x + 6].sum() for z in range(5) for y in range(9) for x in range(7)
    }
    start = max(counts, key=counts.__getitem__)
    places = np.argwhere(differ[tuple(slice(at, at + size) for at, size in zip(start, (4, 8, 6), strict=True))]) + start
    assert box.first == tuple(places.min(0)[::-1])
    assert box.last == tuple(places.max(0)[::-1])


def test_near_duplicates_are_not_both_chosen(tmp_path, images):
    model = write_small_model(tmp_path / "results")
    first, second = names(search(model, images, 2))
    source = images / f"{first}_0000.nii.gz"
    image = np.asarray(nibabel.load(source).dataobj).T
    for copy in ("x", "y"):
        write(images, copy, image)
    found = search(model, images, 2)
    chosen = names(found)
    assert chosen == [first, second]
    assert not any(reason.kind == "copy" for reason in found.cases[0].quality.reasons)
    ordered = names(search(model, images, 6))
    assert set(ordered[-2:]) <= {first, "x", "y"}
    # what is annotated counts in the same way
    write(tmp_path / "annotated", "z", image)
    third = search(model, images, 3, cases_of(tmp_path / "annotated"))
    assert not {first, "x", "y"} & set(names(third))
    vectors = ImageFeatures(TrainedModel.load(model), torch.device("cpu"))
    points = {name: vectors.of_files([images / f"{name}_0000.nii.gz"]) for name in "abcdxy"}
    everything = np.stack([*points.values(), points[first]])
    diameter = 2 * np.linalg.norm(everything - everything.mean(0), axis=1).max()
    top = third.cases[0]
    expected = np.linalg.norm(points[top.name] - points[first]) / diameter
    assert top.choice.distance == pytest.approx(expected, rel=1e-4)
    assert top.choice.score == pytest.approx(expected * top.quality.suspicion, rel=1e-4)


@pytest.mark.parametrize(("scheme", "counts"), [("CTNormalization", True), ("ZScoreNormalization", False)])
def test_intensities_count_where_the_network_sees_them(tmp_path, images, scheme, counts):
    pool = {"mean": 5000.0, "std": 9.0, "median": 5000.0, "percentile_00_5": 4980.0, "percentile_99_5": 5020.0}
    model = write_small_model(tmp_path / "results", intensities={"0": pool}, normalization_schemes=[scheme])
    found = search(model, images, 4)
    kinds = {reason.kind for case in found.cases for reason in case.quality.reasons}
    assert ("intensity" in kinds) == counts


def test_damaged_images(tmp_path, images, caplog):
    model = write_small_model(tmp_path / "results")
    (images / "b_0000.nii.gz").write_bytes(b"no image")
    write(tmp_path / "annotated", "z", phantom((8, 16, 12), seed=9)[0])
    (tmp_path / "annotated" / "z_0000.nii.gz").write_bytes(b"no image")
    found = search(model, images, 4, cases_of(tmp_path / "annotated"))
    assert sorted(names(found)) == ["a", "c", "d"]
    assert found.failed == ["b"]
    told = [line for line in caplog.messages if "no image" not in line]
    assert any(line.startswith(f"case b was not predicted: {images / 'b_0000.nii.gz'}: expected") for line in told)
    assert any(line.startswith("annotated image z is left out: ") for line in told)
    for name in "acd":
        (images / f"{name}_0000.nii.gz").write_bytes(b"no image")
    found = search(model, images, 4)
    assert (names(found), found.failed) == ([], list("abcd"))


@pytest.mark.parametrize("at_random", [False, True])
@pytest.mark.parametrize(
    ("ending", "change", "problem"),
    [
        (".nii.gz", lambda image: image * 0 + 5, "found it empty: 5 in all voxels"),
        (".nrrd", lambda image: np.where(image > 100, np.nan, image), "expected finite values, found NaN or Inf"),
    ],
)
def test_nobody_gets_an_image_that_no_training_can_use(tmp_path, caplog, ending, change, problem, at_random):
    model = write_small_model(tmp_path / "results", ending=ending)
    for number, name in enumerate("abz"):
        image = phantom((8, 16, 12), seed=number)[0]
        volume = SimpleITK.GetImageFromArray(change(image) if name == "b" else image)
        (tmp_path / "images").mkdir(exist_ok=True)
        SimpleITK.WriteImage(volume, str(tmp_path / "images" / f"{name}_0000{ending}"))
    (tmp_path / "scratch").mkdir()
    made = Search(model, tmp_path / "images", tmp_path / "scratch", device="cpu", show_progress=False)
    cases = list_images(tmp_path / "images", ending, 1)
    if at_random:
        found = made.at_random(cases, 3, 0)
    else:
        found = made.suspicious(cases, 3, ModelFiles.read(model), tmp_path / "reference.json", [])
    assert (sorted(names(found)), found.failed) == (["a", "z"], ["b"])
    (line,) = (line for line in caplog.messages if line.startswith("case b was not predicted: "))
    assert problem in line
    assert "--no_check" not in line  # an option of other commands


def test_channels_on_different_grids(tmp_path, caplog):
    schemes = {"normalization_schemes": ["ZScoreNormalization"] * 2, "use_mask_for_norm": [False] * 2}
    model = write_small_model(tmp_path / "results", channels=2, **schemes)
    for name in "ab":
        for channel in range(2):
            file = tmp_path / "images" / f"{name}_{channel:04d}.nii.gz"
            write_image(file, phantom((8, 16, 12), seed=channel)[0], SPACING)
    moved = nibabel.load(tmp_path / "images" / "b_0001.nii.gz")
    affine = moved.affine.copy()
    affine[0, 3] += 30
    nibabel.save(nibabel.Nifti1Image(np.asarray(moved.dataobj), affine), tmp_path / "images" / "b_0001.nii.gz")
    (tmp_path / "scratch").mkdir()
    made = Search(model, tmp_path / "images", tmp_path / "scratch", device="cpu", show_progress=False)
    cases = list_images(tmp_path / "images", ".nii.gz", 2)
    found = made.suspicious(cases, 3, ModelFiles.read(model), tmp_path / "reference.json", [])
    assert (names(found), found.failed) == (["a"], ["b"])
    (line,) = (line for line in caplog.messages if line.startswith("case b was not predicted: "))
    assert "expected the origin and direction of b_0000.nii.gz" in line
    assert line.endswith("if only the header is wrong.")


@pytest.mark.parametrize("name", ["b", "z"])
def test_an_annotated_image_or_another_without_features_does_not_lose_the_others(tmp_path, images, monkeypatch, name):
    model = write_small_model(tmp_path / "results")
    write(tmp_path / "annotated", "z", phantom((8, 16, 12), seed=9)[0])
    of_files = ImageFeatures.of_files

    def failing(self, files):
        if files[0].name.startswith(name):
            raise RuntimeError("no features")
        return of_files(self, files)

    monkeypatch.setattr(ImageFeatures, "of_files", failing)
    found = search(model, images, 4, cases_of(tmp_path / "annotated"))
    assert found.failed == (["b"] if name == "b" else [])
    assert sorted(names(found)) == [case for case in "abcd" if case != name]
    assert all(np.isfinite(case.choice.score) for case in found.cases)


def test_one_fold_without_mirroring_has_nothing_to_compare(tmp_path, images, caplog):
    model = write_small_model(tmp_path / "results", axes=None)
    found = search(model, images, 2)
    assert len(found.cases) == 2
    assert all(case.box is None for case in found.cases)
    assert "the model has one fold and no mirroring: there is no second prediction to compare with" in caplog.messages


def test_the_folds_that_are_named(tmp_path, images):
    model = write_small_model(tmp_path / "results", folds=(0, 1))
    found = search(model, images, 1, folds=("1",))
    assert [place.name for place in (tmp_path / "scratch" / "again").iterdir()] == ["0"]
    draft = np.asarray(nibabel.load(found.drafts / "a.nii.gz").dataobj).T
    expected = Predictor(model, [1], device="cpu").predict_array(phantom((8, 16, 12), seed=0), SPACING)
    np.testing.assert_array_equal(draft, expected)


def test_at_random(tmp_path, images):
    model = write_small_model(tmp_path / "results")

    def chosen(seed: int, number: int = 2):
        scratch = tmp_path / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        made = Search(model, images, scratch, device="cpu", show_progress=False)
        return made.at_random(cases_of(images), number, seed)

    order = ["abcd"[place] for place in np.random.default_rng(3).permutation(4)]
    found = chosen(3)
    assert (names(found), found.failed) == (order[:2], [])
    assert sorted(file.name for file in found.drafts.glob("*.nii.gz")) == sorted(f"{name}.nii.gz" for name in order[:2])
    assert len({tuple(names(chosen(seed, 4))) for seed in range(6)}) > 1
    (images / f"{order[0]}_0000.nii.gz").write_bytes(b"no image")
    found = chosen(3)
    assert (names(found), found.failed) == (order[1:3], [order[0]])
    found = chosen(3, 9)
    assert (names(found), found.failed) == (order[1:], [order[0]])
