"""Parts are ordinary datasets: images by reference, labels numbered anew on the same grid, the source's folds."""

import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile

from nnunet_ext.collection.collect.part import Part, check_source_labels, write_parts, written_parts
from nnunet_ext.data.dataset_check import check_dataset
from nnunet_ext.data.folds import default_folds
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.phantoms.dataset import write_phantom_dataset

SHAPE = (8, 12, 10)
NAME = "Dataset901_part"
CASES = ("case_001", "case_002", "case_004")
ROTATED = np.array([[0, -1.5, 0, 7], [1.2, 0, 0, -20], [0, 0, -3, 33], [0, 0, 0, 1]], float)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source of six cases with two channels and labels 0 to 3 and 4 for ignore; one is rotated and mirrored."""
    raw = tmp_path_factory.mktemp("raw")
    folder = write_phantom_dataset(raw, "Dataset004_Source", cases=6, shape=SHAPE, channels=2, ignore=True)
    rng = np.random.default_rng(0)
    for file in sorted(folder.glob("*Tr/*")):
        image = nibabel.load(file)
        voxels = rng.integers(0, 5, image.shape, np.uint8) if file.parent.name == "labelsTr" else image.get_fdata()
        affine = ROTATED if file.name.startswith("case_001") else image.affine
        nibabel.save(nibabel.Nifti1Image(voxels, affine), file)
    return raw


@pytest.fixture
def raw(written: Path, tmp_path: Path) -> Path:
    """A copy to write in."""
    return Path(shutil.copytree(written, tmp_path / "raw"))


def part(raw: Path, labels: dict[str, str] | None = None, **options: object) -> Part:
    source = RawDataset.read(raw / "Dataset004_Source")
    chosen = labels or {"organ": "organ", "tumour": "lesion"}
    return Part(source, "Dataset900_MOTS", "part", chosen, CASES, **options)  # type: ignore[arg-type]


def write(raw: Path, wanted: Part, **options: Path) -> Path:
    write_parts({NAME: wanted}, raw, show_progress=False, **options)
    return raw / NAME


def change(folder: Path, **changes: object) -> None:
    """Change keys of dataset.json; None removes one."""
    file = folder / "dataset.json"
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def labels_of(folder: Path, case: str) -> np.ndarray:
    return np.asarray(nibabel.load(folder / "labelsTr" / f"{case}.nii.gz").dataobj)


def test_description(raw: Path) -> None:
    change(raw / "Dataset004_Source", overwrite_image_reader_writer="NibabelIO", licence="CC0", annotated={})
    found = json.loads((write(raw, part(raw)) / "dataset.json").read_text())
    assert found.pop("dataset")["case_004"] == {
        "images": [f"../Dataset004_Source/imagesTr/case_004_000{channel}.nii.gz" for channel in range(2)],
        "label": "labelsTr/case_004.nii.gz",
    }
    assert found == {
        "channel_names": {"0": "phantom0", "1": "phantom1"},
        "labels": {"background": 0, "organ": 1, "lesion": 2, "ignore": 3},
        "numTraining": 3,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIO",
        "licence": "CC0",
        "source": {"dataset": "Dataset004_Source", "collection": "Dataset900_MOTS", "task": "part"},
    }


@pytest.mark.parametrize("reader", [None, "SimpleITKIO", "NibabelIO", "NibabelIOWithReorient"])
def test_labels_and_their_place(raw: Path, reader: str | None) -> None:
    change(raw / "Dataset004_Source", overwrite_image_reader_writer=reader)
    folder = write(raw, part(raw))
    assert sorted(path.name for path in (folder / "labelsTr").iterdir()) == [f"{case}.nii.gz" for case in CASES]
    for case in CASES:
        before = labels_of(raw / "Dataset004_Source", case)
        assert set(np.unique(before)) == {0, 1, 2, 3, 4}
        np.testing.assert_array_equal(labels_of(folder, case), np.array([0, 1, 0, 2, 3])[before])
        affine = nibabel.load(raw / "Dataset004_Source" / "labelsTr" / f"{case}.nii.gz").affine
        np.testing.assert_allclose(nibabel.load(folder / "labelsTr" / f"{case}.nii.gz").affine, affine, atol=1e-4)


def test_checks_as_any_data_set(raw: Path) -> None:
    check_dataset(write(raw, part(raw)), show_progress=False)


def test_damage_is_found_in_a_part_too(raw: Path) -> None:
    folder = write(raw, part(raw))
    (raw / "Dataset004_Source" / "imagesTr" / "case_002_0001.nii.gz").unlink()
    with pytest.raises(
        UserError, match=r"case_002_0001\.nii\.gz: expected the image of a training case, found no file"
    ):
        check_dataset(folder, show_progress=False)


def test_regions(raw: Path) -> None:
    regions = {"background": 0, "organ": [1, 2, 3], "wall": [2, 3], "tumour": [3], "ignore": 4}
    change(raw / "Dataset004_Source", labels=regions, regions_class_order=[1, 2, 3])
    folder = write(raw, part(raw, {"wall": "wall", "tumour": "tumour"}))
    found = json.loads((folder / "dataset.json").read_text())
    assert found["labels"] == {"background": 0, "wall": [1, 2], "tumour": [2], "ignore": 3}
    assert found["regions_class_order"] == [1, 2]
    before = labels_of(raw / "Dataset004_Source", "case_002")
    np.testing.assert_array_equal(labels_of(folder, "case_002"), np.array([0, 0, 1, 2, 3])[before])
    check_dataset(folder, show_progress=False)


def test_a_part_of_a_part(raw: Path) -> None:
    source = RawDataset.read(write(raw, part(raw)))
    inner = Part(source, "Dataset900_MOTS", "inner", {"lesion": "lesion"}, CASES[:2])
    write_parts({"Dataset902_inner": inner}, raw, show_progress=False)
    found = json.loads((raw / "Dataset902_inner" / "dataset.json").read_text())
    assert found["dataset"]["case_001"]["images"][0] == "../Dataset004_Source/imagesTr/case_001_0000.nii.gz"
    check_dataset(raw / "Dataset902_inner", show_progress=False)


@pytest.mark.parametrize("says", [True, False])
def test_a_part_of_tif_says_the_spacing_that_its_source_says(tmp_path: Path, says: bool) -> None:
    folder = tmp_path / "Dataset004_Source"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
        if says or name == "imagesTr":
            for case in CASES:
                (folder / name / f"{case}.json").write_text('{"spacing": [3.0, 1.0, 1.0]}')
    for case in CASES:
        label = np.arange(210, dtype=np.uint8).reshape(5, 6, 7) % 3
        tifffile.imwrite(folder / "labelsTr" / f"{case}.tif", label)
        tifffile.imwrite(folder / "imagesTr" / f"{case}_0000.tif", label.astype(np.float32))
    labels = {"background": "0", "organ": "1", "tumour": "2"}
    description = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 3, "file_ending": ".tif"}
    (folder / "dataset.json").write_text(json.dumps(description))
    written = write(tmp_path, part(tmp_path, {"tumour": "tumour"}))
    assert sorted(file.name for file in written.glob("labelsTr/*.json")) == [f"{case}.json" for case in CASES if says]
    check_dataset(written, show_progress=False)


def test_images_elsewhere_are_named_by_their_whole_path(raw: Path, tmp_path: Path) -> None:
    folder = write(raw, part(raw))
    outside = Path(shutil.copytree(raw / "Dataset004_Source" / "imagesTr", tmp_path / "outside"))
    content = json.loads((folder / "dataset.json").read_text())["dataset"]
    for case, entry in content.items():
        entry["images"] = [str(outside / f"{case}_000{channel}.nii.gz") for channel in range(2)]
    change(folder, dataset=content)
    inner = Part(RawDataset.read(folder), "Dataset900_MOTS", "inner", {"lesion": "lesion"}, CASES[:2])
    assert inner.description()["dataset"]["case_001"]["images"][1] == str(outside / "case_001_0001.nii.gz")


class TestFolds:
    """splits_final.json of a part."""

    def folds(self, folder: Path) -> list[dict[str, list[str]]]:
        return json.loads((folder / "splits_final.json").read_text())

    def test_default(self, raw: Path) -> None:
        source = default_folds([f"case_{number:03d}" for number in range(6)])
        found = self.folds(write(raw, part(raw)))
        assert len(found) == 5
        for number, fold in enumerate(found):
            assert fold == {key: [case for case in source[number][key] if case in CASES] for key in ("train", "val")}
        assert sorted(case for fold in found for case in fold["val"]) == list(CASES)
        assert [] in [fold["val"] for fold in found]

    def test_of_the_raw_folder(self, raw: Path) -> None:
        folds = [{"train": ["case_000", "case_004"], "val": ["case_001", "case_005"]}]
        (raw / "Dataset004_Source" / "splits_final.json").write_text(json.dumps(folds))
        assert self.folds(write(raw, part(raw))) == [{"train": ["case_004"], "val": ["case_001"]}]

    def test_of_the_preprocessed_folder_first(self, raw: Path, tmp_path: Path) -> None:
        place = tmp_path / "preprocessed" / "Dataset004_Source"
        place.mkdir(parents=True)
        (raw / "Dataset004_Source" / "splits_final.json").write_text("[]")
        (place / "splits_final.json").write_text('[{"train": ["case_001"], "val": ["case_002"]}]')
        folder = write(raw, part(raw), preprocessed=tmp_path / "preprocessed")
        assert self.folds(folder) == [{"train": ["case_001"], "val": ["case_002"]}]

    def test_without_any_case_of_the_part(self, raw: Path) -> None:
        (raw / "Dataset004_Source" / "splits_final.json").write_text('[{"train": ["case_000"], "val": ["case_001"]}]')
        with pytest.raises(UserError, match="expected folds that train on cases of task 'part', found none of its 3"):
            part(raw).folds(None)


def test_labels_of_the_source_that_were_corrected(raw: Path) -> None:
    """The part's label files are stale then; an image tells nothing, nor does a case of others."""
    folder, labels = write(raw, part(raw)), raw / "Dataset004_Source" / "labelsTr"
    os.utime(labels / "case_002.nii.gz", ns=(1, 1))  # copied or touched
    (labels / "case_000.nii.gz").write_bytes(b"not in the part")
    check_source_labels(folder)
    check_source_labels(raw / "Dataset004_Source")
    (labels / "case_002.nii.gz").write_bytes((labels / "case_004.nii.gz").read_bytes())
    with pytest.raises(UserError) as error:
        check_source_labels(folder)
    assert str(error.value) == (
        f"{folder}: expected labels of Dataset004_Source as they were when this part was written, found "
        f"{labels / 'case_002.nii.gz'} changed since. Delete the part's folder, collect and plan Dataset900_MOTS "
        f"again: unchanged data are not preprocessed again."
    )
    shutil.rmtree(raw / "Dataset004_Source")
    check_source_labels(folder)  # the source is elsewhere


def test_labels_of_the_source_of_a_source_that_were_corrected(raw: Path) -> None:
    first = write(raw, part(raw))
    again = Part(RawDataset.read(first), "Dataset910_Again", "organ", {"organ": "organ"}, CASES)
    write_parts({"Dataset911_organ": again}, raw, show_progress=False)
    check_source_labels(raw / "Dataset911_organ")
    labels = raw / "Dataset004_Source" / "labelsTr"
    (labels / "case_002.nii.gz").write_bytes((labels / "case_004.nii.gz").read_bytes())
    with pytest.raises(UserError, match=f"^{first}: expected labels of Dataset004_Source as they were"):
        check_source_labels(raw / "Dataset911_organ")


class TestAnnotated:
    """What was not annotated must not be in the label file."""

    def test_complete_or_silent(self, raw: Path) -> None:
        write(raw, part(raw, {"organ": "organ"}, annotated={"case_000": frozenset({"organ"})}))

    def test_label_that_was_not_annotated(self, raw: Path) -> None:
        wanted = part(raw, {"organ": "organ"}, annotated={"case_002": frozenset({"organ", "tumour"})})
        walls = int((labels_of(raw / "Dataset004_Source", "case_002") == 2).sum())
        with pytest.raises(UserError) as caught:
            write(raw, wanted)
        assert str(caught.value) == (
            f"{raw / 'Dataset004_Source' / 'labelsTr' / 'case_002.nii.gz'}: expected only what 'annotated' of "
            f"{raw / 'Dataset004_Source' / 'dataset.json'} lists for case 'case_002' (organ, tumour), found label 2 "
            f"(wall) in {walls} voxels. Add it there or remove it from the file."
        )


class TestAllOrNothing:
    """A part is whole or not there."""

    def others(self, raw: Path) -> list[str]:
        return sorted(path.name for path in raw.iterdir())

    def test_nothing_is_left_of_a_failure(self, raw: Path) -> None:
        bad = RawDataset.read(Path(shutil.copytree(raw / "Dataset004_Source", raw / "Dataset005_Bad")))
        file = bad.folder / "labelsTr" / "case_003.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.full(SHAPE[::-1], 9, np.uint8), np.eye(4)), file)
        second = Part(bad, "Dataset900_MOTS", "bad", {"organ": "organ"}, ("case_001", "case_003"))
        with pytest.raises(
            UserError, match=r"case_003\.nii\.gz: expected the labels of dataset\.json, 0 to 4, found 9"
        ):
            write_parts({NAME: part(raw), "Dataset902_bad": second}, raw, show_progress=False)
        assert self.others(raw) == ["Dataset004_Source", "Dataset005_Bad"]

    def test_what_a_crash_left_is_removed(self, raw: Path) -> None:
        left = raw / f".{NAME}.partial" / "labelsTr"
        left.mkdir(parents=True)
        (left / "case_000.nii.gz").write_text("half")
        folder = write(raw, part(raw))
        assert self.others(raw) == ["Dataset004_Source", NAME]
        assert not (folder / "labelsTr" / "case_000.nii.gz").exists()

    def test_truncated_label(self, raw: Path) -> None:
        file = raw / "Dataset004_Source" / "labelsTr" / "case_004.nii.gz"
        file.write_bytes(file.read_bytes()[:-40])
        with pytest.raises(UserError, match=r"case_004\.nii\.gz: expected an intact image"):
            write(raw, part(raw))
        assert self.others(raw) == ["Dataset004_Source"]


def test_written_parts_are_found_by_their_record(raw: Path) -> None:
    folder = write(raw, part(raw))
    (raw / "Dataset007_Broken").mkdir()
    (raw / "Dataset007_Broken" / "dataset.json").write_text("{")
    found = written_parts(raw, "Dataset900_MOTS")
    assert {key: dataset.folder for key, dataset in found.items()} == {("Dataset004_Source", "part"): folder}
    assert written_parts(raw, "Dataset910_Other") == {}


def test_progress_is_shown(raw: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_parts({NAME: part(raw)}, raw)
    out, err = capfd.readouterr()
    assert out == ""
    assert "writing labels" in err
    assert "3/3" in err
