"""Unlabelled images are found in imagesUn or in dataset.json, and each mistake has one line that names the case."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nnunet_ext.data.dataset_check import check_dataset
from nnunet_ext.errors import UserError
from nnunet_ext.phantoms.dataset import write_nifti, write_phantom_dataset
from nnunet_ext.semi_supervised.raw_images import check_images_un, find_unlabelled, has_unlabelled, unlabelled_names

SHAPE, SPACING = (8, 12, 10), (2.5, 1.0, 1.0)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labelled and two unlabelled cases with two channels."""
    raw = tmp_path_factory.mktemp("raw")
    return write_phantom_dataset(raw, "Dataset901_P", cases=2, unseen=1, unlabelled=2, shape=SHAPE, channels=2)


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(sound, tmp_path / sound.name))


def rewrite(folder: Path, **changes: object) -> None:
    file = folder / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def listed(folder: Path, **cases: object) -> None:
    """List the files of imagesTs, or what is given, instead of imagesUn."""
    shutil.rmtree(folder / "imagesUn", ignore_errors=True)
    images = [f"imagesTs/unseen_000_{channel:04d}.nii.gz" for channel in range(2)]
    rewrite(folder, unlabelled=cases or {"far": {"images": images}})


def problem(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        check_images_un(folder, find_unlabelled(folder), show_progress=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_found_in_images_un(sound):
    assert has_unlabelled(sound)
    cases = find_unlabelled(sound)
    assert [case.name for case in cases] == ["unlabelled_000", "unlabelled_001"]
    assert [image.name for image in cases[1].images] == ["unlabelled_001_0000.nii.gz", "unlabelled_001_0001.nii.gz"]
    assert all(case.label is None for case in cases)
    check_images_un(sound, cases, show_progress=False)


def test_phantoms_without_labels_differ_from_the_others(sound):
    first = [nibabel.load(sound / file).get_fdata() for file in ("imagesTr/case_000_0000.nii.gz",)]
    first += [nibabel.load(case.images[0]).get_fdata() for case in find_unlabelled(sound)[:1]]
    assert first[0].shape == first[1].shape
    assert not np.allclose(*first)
    assert not (sound / "labelsUn").exists()


def test_they_are_no_training_cases(sound):
    check_dataset(sound, show_progress=False)  # numTraining is 2


def test_listed_in_dataset_json(folder, monkeypatch):
    listed(folder)
    assert has_unlabelled(folder)
    expected = tuple(folder / "imagesTs" / f"unseen_000_{channel:04d}.nii.gz" for channel in range(2))
    assert [(case.name, case.images) for case in find_unlabelled(folder)] == [("far", expected)]
    monkeypatch.setenv("SCANS", str(folder / "imagesTs"))
    listed(folder, far={"images": [f"$SCANS/{file.name}" for file in expected]})
    assert find_unlabelled(folder)[0].images == expected
    listed(folder, far={"images": [f"../{folder.name}/imagesTs/{file.name}" for file in expected]})
    assert find_unlabelled(folder)[0].images == expected


def test_names_alone(folder, tmp_path):
    """Training asks for them: the files may be elsewhere by then."""
    assert unlabelled_names(folder) == {"unlabelled_000", "unlabelled_001"}
    for file in (folder / "imagesUn").iterdir():
        file.unlink()
    assert unlabelled_names(folder) == set()
    listed(folder, far={"images": ["gone_0000.nii.gz"]}, near={"images": ["gone_0001.nii.gz"]})
    assert unlabelled_names(folder) == {"far", "near"}
    rewrite(folder, unlabelled=["far"])
    assert unlabelled_names(folder) == set()
    assert unlabelled_names(tmp_path / "nowhere") == set()


def test_none(folder):
    shutil.rmtree(folder / "imagesUn")
    assert not has_unlabelled(folder)
    assert problem(folder) == (
        f"{folder / 'imagesUn'}: expected unlabelled images named CASE_0000.nii.gz, found no folder. Put them there, "
        f"or list them in dataset.json under 'unlabelled'."
    )
    (folder / "imagesUn").mkdir()
    assert has_unlabelled(folder)
    assert "expected images named CASE_0000.nii.gz, found none" in problem(folder)


def test_no_data_set(tmp_path):
    assert not has_unlabelled(tmp_path)
    assert "expected a description of the dataset, found no file" in problem(tmp_path)


def test_in_both_places(folder):
    rewrite(folder, unlabelled={"far": {"images": ["imagesTs/unseen_000_0000.nii.gz"] * 2}})
    assert "expected unlabelled images either in imagesUn or under 'unlabelled', found both" in problem(folder)


def test_labelled_too(folder):
    for image in (folder / "imagesUn").glob("unlabelled_001_*"):
        image.rename(folder / "imagesUn" / image.name.replace("unlabelled_001", "case_000"))
    assert problem(folder) == (
        f"{folder}: expected case 'case_000' to be labelled or unlabelled, found it both. Remove it from one."
    )


def test_labelled_too_under_another_name(folder):
    files = {
        case: [f"imagesTr/{case}_000{channel}.nii.gz" for channel in range(2)] for case in ("case_000", "case_001")
    }
    listed(folder, far={"images": files["case_001"]}, near={"images": files["case_000"]})
    text = problem(folder)
    assert "expected case 'far' to be labelled or unlabelled, found it both as 'case_001'" in text
    assert text.endswith("(and 1 more case)")


def test_a_channel_missing(folder):
    (folder / "imagesUn" / "unlabelled_000_0001.nii.gz").unlink()
    (folder / "imagesUn" / "unlabelled_000_0000.nii.gz").rename(folder / "imagesUn" / "unlabelled_000_0001.nii.gz")
    assert "expected 2 channels of case 'unlabelled_000' as in dataset.json, found no" in problem(folder)


def test_a_channel_missing_behind_the_first(folder):
    (folder / "imagesUn" / "unlabelled_000_0001.nii.gz").unlink()  # the file left may hold both
    assert "expected 2 channels of case 'unlabelled_000' as in dataset.json, found 1" in problem(folder)


def test_a_channel_too_many(folder):
    images = folder / "imagesUn"
    shutil.copy(images / "unlabelled_001_0000.nii.gz", images / "unlabelled_001_0002.nii.gz")
    assert "found also unlabelled_001_0002.nii.gz" in problem(folder)
    listed(folder, far={"images": ["imagesTs/unseen_000_0000.nii.gz"] * 3})
    assert "case 'far': expected 2 channels as in dataset.json, found 3 images" in problem(folder)


@pytest.mark.parametrize("entry", [None, {}, {"images": []}, {"images": "a.nii.gz"}, {"images": [1, 2]}])
def test_an_entry_that_lists_nothing(folder, entry):
    listed(folder, far=entry)
    assert f"{folder / 'dataset.json'}: 'unlabelled', case 'far': expected " in problem(folder)


@pytest.mark.parametrize("content", [{}, [], "imagesTs"])
def test_a_list_that_is_none(folder, content):
    listed(folder)
    rewrite(folder, unlabelled=content)
    assert "expected 'unlabelled' to be " in problem(folder)


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_link_to_a_labelled_image(folder, link):
    image = folder / "imagesUn" / "unlabelled_001_0001.nii.gz"
    image.unlink()
    getattr(image, link)(folder / "imagesTr" / "case_000_0001.nii.gz")
    assert "expected case 'unlabelled_001' to be labelled or unlabelled, found it both as 'case_000'" in problem(folder)


def test_a_listed_file_that_is_not_there(folder):
    listed(folder, far={"images": ["imagesTs/unseen_000_0000.nii.gz", "imagesTs/gone.nii.gz"]})
    assert f"case 'far': expected image {folder / 'imagesTs' / 'gone.nii.gz'}, found no file" in problem(folder)


@pytest.mark.parametrize("name", ["far/off", "far_seg", ".far", ""])
def test_a_name_that_makes_no_file(folder, name):
    listed(folder, **{name: {"images": [f"imagesTs/unseen_000_{channel:04d}.nii.gz" for channel in range(2)]}})
    found = problem(folder)
    assert ("not ending in '_seg'" if name == "far_seg" else "without '/', ") in found
    assert found.endswith(f"got {name!r}. Rename it.")


def test_a_truncated_image(folder):
    file = folder / "imagesUn" / "unlabelled_001_0001.nii.gz"
    file.write_bytes(file.read_bytes()[:-100])
    assert problem(folder).startswith(f"{file}: expected an intact image, but it is corrupt or truncated")


def test_a_file_of_no_bytes(folder):
    file = folder / "imagesUn" / "unlabelled_001_0001.nii.gz"
    file.write_bytes(b"")
    assert problem(folder).startswith(f"{file}: expected an intact image, but it is corrupt or truncated")


@pytest.mark.parametrize("value", [0, -1024])
def test_an_empty_image(folder, value):
    files = [folder / "imagesUn" / f"unlabelled_001_{channel:04d}.nii.gz" for channel in range(2)]
    write_nifti(files[0], np.full(SHAPE, value, np.float32), SPACING)
    write_nifti(files[1], np.zeros(SHAPE, np.float32), SPACING)
    assert problem(folder) == (
        f"{files[0]}: expected an image of case 'unlabelled_001', found it empty: {value} in all voxels. Export it "
        f"again or remove the case."
    )


def test_one_empty_channel_is_legal(folder):
    write_nifti(folder / "imagesUn" / "unlabelled_000_0001.nii.gz", np.zeros(SHAPE, np.float32), SPACING)
    check_images_un(folder, find_unlabelled(folder), show_progress=False)


def test_no_case_is_nothing_to_check(sound):
    check_images_un(sound, [])


SHEARED = np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 2.5, 0], [0, 0, 0, 1]], float)


def sheared(file: Path) -> None:
    image = nibabel.Nifti1Image(np.asarray(nibabel.load(file).dataobj), SHEARED)
    image.set_sform(SHEARED, 1)
    image.header["qform_code"] = 0
    nibabel.save(image, file)


def test_the_reader_is_that_of_the_labelled_images_or_of_the_plans(folder):
    """Not of the first unlabelled one: nnU-Net's NibabelIO would take it, the SimpleITKIO of the plans does not."""
    for channel in range(2):
        sheared(folder / "imagesUn" / f"unlabelled_000_{channel:04d}.nii.gz")
    text = "unlabelled_000_0000.nii.gz: expected axes perpendicular to each other, which nnU-Net's SimpleITKIO needs"
    assert text in problem(folder)
    cases = find_unlabelled(folder)
    with pytest.raises(UserError, match="SimpleITKIO needs"):
        check_images_un(folder, cases, {"image_reader_writer": "SimpleITKIO"}, show_progress=False)
    check_images_un(folder, cases, {"image_reader_writer": "NibabelIO"}, show_progress=False)
