"""Copies with hidden labels: what is labelled, unlabelled, for scoring only, and that nothing else reads the labels."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile

from nnunet_ext.collection.annotated_classes import annotated_classes
from nnunet_ext.data.dataset_check import check_dataset
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.phantoms.dataset import write_phantom_dataset
from nnunet_ext.semi_supervised.hidden_labels import choose_labelled, hide_labels, scored_cases
from nnunet_ext.semi_supervised.hidden_slices import KeptSlices, write_kept_slices
from nnunet_ext.semi_supervised.raw_images import check_images_un, find_unlabelled, has_unlabelled

CASES = [f"case_{index:03d}" for index in range(6)]
LABELLED, TEST = ("case_004", "case_001"), ("case_005",)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labelled cases with two channels, regions and an ignore label."""
    settings: dict = {"cases": 6, "shape": (8, 12, 10), "channels": 2, "regions": True, "ignore": True}
    return write_phantom_dataset(tmp_path_factory.mktemp("raw"), "Dataset020_P", **settings)


@pytest.fixture
def source(sound: Path, tmp_path: Path) -> RawDataset:
    """A copy to work on."""
    return RawDataset.read(Path(shutil.copytree(sound, tmp_path / "raw" / sound.name)))


def place_of(source: RawDataset) -> Path:
    return source.folder.parent / "Dataset120_P"


def content(place: Path) -> dict:
    return json.loads((place / "dataset.json").read_text())


def problem(source: RawDataset, *words: object) -> str:
    with pytest.raises(UserError) as caught:
        hide_labels(source, place_of(source), *words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_written(source):
    place = place_of(source)
    assert hide_labels(source, place, LABELLED, TEST) == {"labelled": 2, "unlabelled": 3, "test": 1}
    assert [path.name for path in place.iterdir()] == ["dataset.json"]

    def images(name: str) -> list[str]:
        return [f"../Dataset020_P/imagesTr/{name}_{channel:04d}.nii.gz" for channel in range(2)]

    def label(name: str) -> str:
        return f"../Dataset020_P/labelsTr/{name}.nii.gz"

    hidden = ("case_000", "case_002", "case_003")
    assert content(place) == {
        "channel_names": {"0": "phantom0", "1": "phantom1"},
        "labels": source.description["labels"],
        "regions_class_order": [1, 2, 3],
        "file_ending": ".nii.gz",
        "numTraining": 2,
        "labels_hidden_from": "Dataset020_P",
        "dataset": {name: {"images": images(name), "label": label(name)} for name in ("case_001", "case_004")},
        "unlabelled": {name: {"images": images(name)} for name in hidden},
        "hidden_labels": {name: label(name) for name in hidden},
        "test": {"case_005": {"images": images("case_005"), "label": label("case_005")}},
    }


def test_the_copy_is_an_ordinary_data_set_with_unlabelled_images(source):
    place = place_of(source)
    hide_labels(source, place, LABELLED, TEST)
    check_dataset(place, show_progress=False)
    assert [case.name for case in RawDataset.read(place).cases()] == ["case_001", "case_004"]
    cases = find_unlabelled(place)
    assert [(case.name, case.label) for case in cases] == [(f"case_00{index}", None) for index in (0, 2, 3)]
    check_images_un(place, cases, show_progress=False)


def test_scored_cases(source):
    place = place_of(source)
    hide_labels(source, place, LABELLED, TEST)
    images = tuple(source.folder / "imagesTr" / f"case_005_{channel:04d}.nii.gz" for channel in range(2))
    (test,) = scored_cases(place, "test")
    assert (test.name, test.images) == ("case_005", images)
    assert test.label == source.folder / "labelsTr" / "case_005.nii.gz"
    hidden = scored_cases(place, "hidden_labels")
    assert [case.name for case in hidden] == ["case_000", "case_002", "case_003"]
    assert all(case.label == source.folder / "labelsTr" / f"{case.name}.nii.gz" for case in hidden)
    assert all(file.is_file() for case in (test, *hidden) for file in (*case.images, case.label))


def test_nothing_to_score(source):
    with pytest.raises(UserError, match=r"expected cases under 'hidden_labels', found none\. .* hide_labels\.$"):
        scored_cases(source.folder, "hidden_labels")
    hide_labels(source, place_of(source), LABELLED)
    assert "test" not in content(place_of(source))
    with pytest.raises(UserError, match=r"expected cases under 'test', found none\. .* hide_labels --test FILE\.$"):
        scored_cases(place_of(source), "test")


def test_images_outside_of_nnunet_raw(source, tmp_path):
    far = tmp_path / "far"
    source.folder.rename(far)
    (far / "dataset.json").write_text(
        json.dumps(
            source.description
            | {
                "dataset": {
                    name: {
                        "images": [str(far / f"imagesTr/{name}_{channel:04d}.nii.gz") for channel in range(2)],
                        "label": str(far / f"labelsTr/{name}.nii.gz"),
                    }
                    for name in CASES
                }
            }
        )
    )
    place = tmp_path / "raw" / "Dataset120_P"
    hide_labels(RawDataset.read(far), place, LABELLED)
    assert content(place)["hidden_labels"]["case_000"] == str(far / "labelsTr" / "case_000.nii.gz")
    check_dataset(place, show_progress=False)


def test_what_was_unlabelled_stays_so(source):
    images = source.folder / "imagesUn"
    images.mkdir()
    for channel in range(2):
        stored = nibabel.load(source.folder / f"imagesTr/case_000_{channel:04d}.nii.gz")
        brighter = nibabel.Nifti1Image(np.asarray(stored.dataobj) + 1, stored.affine)
        nibabel.save(brighter, images / f"far_{channel:04d}.nii.gz")
    assert hide_labels(source, place_of(source), LABELLED, TEST)["unlabelled"] == 4
    assert "far" in content(place_of(source))["unlabelled"]
    assert "far" not in content(place_of(source))["hidden_labels"]


def test_a_copy_of_a_copy_leaves_the_test_cases_out(source):
    hide_labels(source, place_of(source), LABELLED, TEST)
    second = source.folder.parent / "Dataset121_P"
    hide_labels(RawDataset.read(place_of(source)), second, ["case_001"])
    found = content(second)
    assert list(found["dataset"]) == ["case_001"]
    assert sorted(found["unlabelled"]) == ["case_000", "case_002", "case_003", "case_004"]
    assert list(found["hidden_labels"]) == ["case_004"]
    assert "case_005" not in json.dumps(found)


def test_the_same_call_changes_nothing(source):
    place = place_of(source)
    counts = hide_labels(source, place, LABELLED, TEST)
    before = (place / "dataset.json").stat().st_mtime_ns
    assert hide_labels(source, place, list(reversed(LABELLED)), TEST) == counts
    assert (place / "dataset.json").stat().st_mtime_ns == before


def test_other_cases_are_not_written_over(source):
    place = place_of(source)
    hide_labels(source, place, LABELLED)
    before = (place / "dataset.json").read_bytes()
    assert problem(source, LABELLED, TEST) == (
        f"{place}: expected no folder, or a copy with these cases, found a copy with others. Choose another number "
        f"after -o, or delete the folder."
    )
    assert (place / "dataset.json").read_bytes() == before


def test_nobody_is_told_to_delete_labelled_data(source):
    with pytest.raises(UserError) as caught:
        hide_labels(source, source.folder, LABELLED)
    assert str(caught.value) == (
        f"{source.folder}: expected no folder, or a copy with these cases, found another dataset (dataset.json). "
        f"Choose another number after -o."
    )


def test_a_folder_of_something_else_and_an_empty_one(source):
    place_of(source).mkdir()
    hide_labels(source, place_of(source), LABELLED)
    (place_of(source) / "dataset.json").rename(place_of(source) / "notes.txt")
    assert problem(source, LABELLED).endswith("found another dataset (notes.txt). Choose another number after -o.")


def test_a_case_for_two_purposes(source):
    assert "found 'case_001' named for both. Remove it" in problem(source, LABELLED, ["case_000", "case_001"])


@pytest.mark.parametrize(("labelled", "test"), [((), ()), (CASES, ()), ((), CASES)])
def test_nothing_labelled_or_nothing_hidden(source, labelled, test):
    assert f"got {len(labelled)} labelled and {len(test)} for testing" in problem(source, labelled, test)
    assert not place_of(source).exists()


def test_all_but_the_test_cases_labelled(source):
    """The upper bound of an experiment: no unlabelled images, and the same cases to score."""
    place = place_of(source)
    assert hide_labels(source, place, CASES[:5], CASES[5:]) == {"labelled": 5, "unlabelled": 0, "test": 1}
    assert not has_unlabelled(place)
    check_dataset(place, show_progress=False)
    assert [case.name for case in scored_cases(place, "test")] == CASES[5:]


def described(dataset: RawDataset, **keys: object) -> RawDataset:
    dataset.file.write_text(json.dumps(dataset.description | keys))
    return RawDataset.read(dataset.folder)


def test_keys_of_the_source_go_over_into_the_copy_and_its_list_of_cases_does_not(source):
    kept = {"overwrite_image_reader_writer": "SimpleITKIO", "source": "https://example.org", "mine": [1, {"a": None}]}
    of_the_source = {"training": [{"image": "./a"}], "numTest": 4, "test": ["./b"]}
    hide_labels(described(source, **kept, **of_the_source), place_of(source), LABELLED)
    found = content(place_of(source))
    assert {key: found.get(key) for key in kept} == kept
    assert not set(of_the_source) & set(found)


def test_a_copy_of_a_part_is_no_part(source):
    record = {"dataset": "Dataset004_A", "collection": "Dataset900_B", "task": "a"}
    hide_labels(described(source, source=record), place_of(source), LABELLED)
    assert "source" not in content(place_of(source))


def test_what_was_annotated_stays_known(source):
    annotated = {"case_004": ["organ"], "case_000": ["organ", "wall"], "case_005": ["organ"]}
    partly = described(source, annotated=annotated)
    place = place_of(source)
    hide_labels(partly, place, LABELLED, ["case_003"])
    found = RawDataset.read(place)
    assert found.description["annotated"] == annotated
    assert set(annotated_classes(found, LABELLED)["case_004"]) == {"organ"}
    assert [case.name for case in scored_cases(place, "test")] == ["case_003"]
    with pytest.raises(UserError, match=r"every class is annotated, found 'case_00[05]' without \w+.* \('annotated'\)"):
        scored_cases(place, "hidden_labels")


def test_a_copy_of_an_earlier_version_gets_the_keys_that_it_lacks(source):
    annotated = {"case_004": ["organ"]}
    hide_labels(described(source, annotated=annotated), place_of(source), LABELLED)
    wanted = content(place_of(source))
    file = place_of(source) / "dataset.json"
    file.write_text(json.dumps({key: value for key, value in wanted.items() if key != "annotated"}))
    hide_labels(RawDataset.read(source.folder), place_of(source), LABELLED)
    assert content(place_of(source)) == wanted


def test_a_file_that_is_gone(source):
    file = source.folder / "labelsTr" / "case_003.nii.gz"
    file.unlink()
    assert problem(source, LABELLED).startswith(f"{file}: expected a file of case 'case_003', found none")


def test_random_choices():
    """Literal: a choice must not change with a release."""
    assert choose_labelled(CASES, 2, 0) == ("case_003", "case_002")
    assert choose_labelled(list(reversed(CASES)), 4, 0)[:2] == choose_labelled(CASES, 2, 0)
    assert set(choose_labelled(CASES, 3, 1)) != set(choose_labelled(CASES, 3, 0))


@pytest.mark.parametrize("keep", [-1, 0, 7])
def test_too_few_or_too_many_to_keep(keep):
    with pytest.raises(UserError, match=f"--keep {keep}: expected a number from 1 to 6, got {keep}"):
        choose_labelled(CASES, keep, 0)


def test_kept_slices_of_tif_have_no_spacing_of_their_own(tmp_path):
    place, new = tmp_path / "Dataset007_Tif", tmp_path / "Dataset107_Tif"
    for folder in ("imagesTr", "labelsTr"):
        (place / folder).mkdir(parents=True)
    new.mkdir()
    tifffile.imwrite(place / "labelsTr" / "a.tif", np.ones((5, 6, 6), np.uint8))
    tifffile.imwrite(place / "imagesTr" / "a_0000.tif", np.ones((5, 6, 6), np.float32))
    (place / "imagesTr" / "a.json").write_text(json.dumps({"spacing": [3.0, 1.5, 1.5]}))
    described = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "organ": 1}, "numTraining": 1}
    (place / "dataset.json").write_text(json.dumps(described | {"file_ending": ".tif"}))
    write_kept_slices(RawDataset.read(place), new, {"a"}, KeptSlices(2))
    assert [file.name for file in (new / "labelsTr").iterdir()] == ["a.tif"]
    assert tifffile.imread(new / "labelsTr" / "a.tif")[:, 0, 0].tolist() == [1, 2, 1, 2, 1]
