"""Every kind of bad data gets one line naming the file, what is expected, what is there and what to do."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from nibabel import Nifti1Image, load, save

from nnunet_ext.data.dataset_check import check_dataset, check_images
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.phantoms.dataset import write_phantom_dataset

SHAPE = (8, 12, 10)
CHANNELS = 2
PLANS = {"plans_name": "Plans", "image_reader_writer": "SimpleITKIO"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound dataset of four cases with two channels."""
    return write_phantom_dataset(
        tmp_path_factory.mktemp("raw"), "Dataset901_Sound", cases=4, unseen=2, shape=SHAPE, channels=CHANNELS
    )


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(sound, tmp_path / sound.name))


def rewrite(folder: Path, **changes: object) -> None:
    """Change keys of dataset.json; None removes one."""
    file = folder / "dataset.json"
    description = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in description.items() if value is not None}))


def edit(file: Path, change: Callable[[np.ndarray], np.ndarray | None], *, dtype: type = np.float32) -> None:
    """Change the voxels of a NIfTI."""
    image = load(file)
    array = np.asarray(image.dataobj).astype(dtype)
    changed = change(array)
    save(Nifti1Image(array if changed is None else changed, image.affine), file)


def move(file: Path, change: Callable[[np.ndarray], object]) -> None:
    """Change the affine of a NIfTI."""
    image = load(file)
    affine = image.affine.copy()
    change(affine)
    save(Nifti1Image(np.asarray(image.dataobj), affine), file)


def problem(folder: Path) -> str:
    """The one line about a dataset."""
    with pytest.raises(UserError) as caught:
        check_dataset(folder, show_progress=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("modes", [{}, {"regions": True}, {"ignore": True}, {"regions": True, "ignore": True}])
def test_sound_data_pass(tmp_path: Path, modes: dict[str, bool]) -> None:
    check_dataset(write_phantom_dataset(tmp_path, "Dataset902_P", cases=2, shape=SHAPE, **modes), show_progress=False)


def test_sound_data_are_read_without_a_word(sound: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (sound / "dataset.json").read_bytes()
    check_dataset(sound, show_progress=False)
    assert capfd.readouterr() == ("", "")
    assert (sound / "dataset.json").read_bytes() == before


def test_progress_is_shown(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_dataset(sound)
    assert "4/4" in capsys.readouterr().err


class TestDescription:
    """dataset.json."""

    def test_missing_file(self, folder: Path) -> None:
        (folder / "dataset.json").unlink()
        assert problem(folder).startswith(f"{folder / 'dataset.json'}: expected a description of the dataset")

    def test_broken_json(self, folder: Path) -> None:
        (folder / "dataset.json").write_text('{"labels": {')
        assert problem(folder).startswith(f"{folder / 'dataset.json'}: expected JSON, got ")

    def test_no_object(self, folder: Path) -> None:
        (folder / "dataset.json").write_text("[1]")
        assert "expected an object, got list" in problem(folder)

    def test_collection(self, folder: Path) -> None:
        (folder / "dataset.json").write_text('{"tasks": {"a": {"dataset": "Dataset003_A"}}}')
        assert problem(folder).endswith(
            "expected an ordinary dataset, found the collection 'Dataset901_Sound'. Name " + "one of its members."
        )

    @pytest.mark.parametrize("key", ["channel_names", "labels", "numTraining", "file_ending"])
    def test_missing_key(self, folder: Path, key: str) -> None:
        rewrite(folder, **{key: None})
        assert f"found no {key}. Add it." in problem(folder)

    def test_the_old_name_of_the_channels_is_legal(self, folder: Path) -> None:
        rewrite(folder, channel_names=None, modality={"0": "a", "1": "b"})
        check_dataset(folder, show_progress=False)

    @pytest.mark.parametrize("key", ["channel_names", "modality"])
    @pytest.mark.parametrize(
        ("names", "text"),
        [
            ({"CT": 0, "PET": 1}, 'the other way round. Write {"0": "CT", "1": "PET"}.'),
            ({"CT": "0", "PET": "1"}, 'the other way round. Write {"0": "CT", "1": "PET"}.'),
            ({"0": "CT", "1": 2}, "expected the name of a channel to be text, got 2. Write it."),
            (
                {"1": "PET", "0": "CT"},
                "expected channel_names in ascending order, as nnU-Net takes them in the order of",
            ),
        ],
    )
    def test_channel_names_from_which_nnunet_plans_something_else(
        self, folder: Path, key: str, names: dict, text: str
    ) -> None:
        rewrite(folder, **({"channel_names": None} | {key: names}))
        assert text in problem(folder)

    @pytest.mark.parametrize("names", [{"1": "a", "2": "b"}, {"0": "1", "1": "2"}, {"x": "a", "y": "b"}])
    def test_channel_names_that_nnunet_takes(self, folder: Path, names: dict) -> None:
        rewrite(folder, channel_names=names)
        check_dataset(folder, show_progress=False)

    def test_labels_as_text(self, folder: Path) -> None:
        rewrite(folder, labels={"background": "0", "organ": "1", "wall": "2", "tumour": "3"})
        check_dataset(folder, show_progress=False)
        assert RawDataset.read(folder).description["labels"]["tumour"] == 3

    def test_labels_of_nnunet_v1(self, folder: Path) -> None:
        rewrite(folder, labels={"0": "background", "1": "organ"})
        assert "nnUNetv2_convert_old_nnUNet_dataset" in problem(folder)

    def test_labels_that_are_a_list(self, folder: Path) -> None:
        rewrite(folder, labels=["background", "organ"])
        assert "expected 'labels' to be an object" in problem(folder)

    def test_gap_between_labels(self, folder: Path) -> None:
        rewrite(folder, labels={"background": 0, "organ": 1, "wall": 3})
        assert "expected labels 0, 1, 2, ... without a gap, got [0, 1, 3]. Renumber" in problem(folder)

    def test_labels_that_start_at_one(self, folder: Path) -> None:
        rewrite(folder, labels={"organ": 1, "wall": 2})
        assert "Background label not declared" in problem(folder)

    @pytest.mark.parametrize("ignore", [2, 5, [4]])
    def test_ignore_must_be_the_highest(self, folder: Path, ignore: object) -> None:
        rewrite(folder, labels={"background": 0, "organ": 1, "wall": 2, "tumour": 3, "ignore": ignore})
        assert "'ignore' must be one integer, the highest label" in problem(folder)

    def test_regions_without_order(self, folder: Path) -> None:
        rewrite(folder, labels={"background": 0, "organ": [1, 2, 3], "wall": [2], "tumour": [3]})
        assert "regions_class_order" in problem(folder)

    @pytest.mark.parametrize("ending", ["nii.gz", 3])
    def test_ending_without_dot(self, folder: Path, ending: object) -> None:
        rewrite(folder, file_ending=ending)
        assert f"expected 'file_ending' to start with a dot, got {ending!r}" in problem(folder)

    @pytest.mark.parametrize("number", [3, 5, "4"])
    def test_number_of_cases(self, folder: Path, number: object) -> None:
        rewrite(folder, numTraining=number)
        assert f"'numTraining' says, {number!r}, found 4. Add the missing" in problem(folder)


class TestFiles:
    """Names and presence."""

    @pytest.mark.parametrize("part", ["imagesTr", "."])
    def test_no_images(self, folder: Path, part: str) -> None:
        shutil.rmtree(folder / "imagesTr")
        (folder / part).mkdir(exist_ok=True)
        assert f"{folder / 'imagesTr'}: expected images named CASE_0000.nii.gz, found none." in problem(folder)

    def test_other_ending(self, folder: Path) -> None:
        rewrite(folder, file_ending=".nrrd")
        assert "expected images named CASE_0000.nrrd, found 8 other files, such as case_000_0000.nii.gz" in problem(
            folder
        )

    def test_name_without_channel(self, folder: Path) -> None:
        for case in range(3):
            (folder / "imagesTr" / f"case_00{case}_0001.nii.gz").rename(folder / "imagesTr" / f"case_00{case}.nii.gz")
        text = problem(folder)
        assert text.startswith(f"{folder / 'imagesTr' / 'case_000.nii.gz'}: expected a name like CASE_0000.nii.gz")
        assert text.endswith("(and 2 more files)")

    @pytest.mark.parametrize("missing", ["0000", "0001"])
    def test_missing_channel(self, folder: Path, missing: str) -> None:
        (folder / "imagesTr" / f"case_002_{missing}.nii.gz").unlink()
        assert "expected 2 channels of case 'case_002'" in problem(folder)

    def test_missing_channels_of_several_cases(self, folder: Path) -> None:
        for case in range(3):
            (folder / "imagesTr" / f"case_00{case}_0000.nii.gz").unlink()
        text = problem(folder)
        assert "found no case_000_0000.nii.gz. Add it." in text
        assert text.endswith("(and 2 more cases)")

    def test_surplus_channel(self, folder: Path) -> None:
        shutil.copy(folder / "imagesTr" / "case_001_0001.nii.gz", folder / "imagesTr" / "case_001_0002.nii.gz")
        assert "2 channels of case 'case_001' as in dataset.json, found also case_001_0002.nii.gz." in problem(folder)

    def test_missing_label(self, folder: Path) -> None:
        for case in (1, 3):
            (folder / "labelsTr" / f"case_00{case}.nii.gz").unlink()
        text = problem(folder)
        assert text.startswith(f"{folder / 'labelsTr' / 'case_001.nii.gz'}: expected the label of a training case")
        assert text.endswith("(and 1 more case)")


class TestListedCases:
    """The key ``dataset`` of dataset.json."""

    @pytest.fixture
    def listed(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("NNUNET_EXT_TEST_IMAGES", str((folder / "imagesTr").rename(folder / "elsewhere")))
        names = [f"case_00{case}" for case in range(4)]
        rewrite(
            folder,
            dataset={
                name: {
                    "images": [f"$NNUNET_EXT_TEST_IMAGES/{name}_000{channel}.nii.gz" for channel in range(CHANNELS)],
                    "label": f"labelsTr/{name}.nii.gz",
                }
                for name in names
            },
        )
        return folder

    def test_sound(self, listed: Path) -> None:
        before = (listed / "dataset.json").read_bytes()
        check_dataset(listed, show_progress=False)
        assert (listed / "dataset.json").read_bytes() == before

    def test_contents_are_read(self, listed: Path) -> None:
        file = listed / "labelsTr" / "case_002.nii.gz"
        edit(file, lambda array: array.__setitem__((1, 1, 1), 9))
        assert problem(listed).startswith(f"{file}: expected the labels of dataset.json")

    def test_missing_image(self, listed: Path) -> None:
        file = listed / "elsewhere" / "case_003_0001.nii.gz"
        file.unlink()
        assert problem(listed).startswith(f"{file}: expected the image of a training case, found no file")

    @pytest.mark.parametrize(
        ("entries", "text"),
        [
            ({}, "expected cases with images under 'dataset', found none"),
            ({"a": {"images": [], "label": "x"}}, "expected cases with images under 'dataset', found one without"),
            ({"a": {"images": ["x"]}}, "got an entry without ('label')"),
            (["a"], "expected 'dataset' to be"),
        ],
    )
    def test_incomplete_entries(self, listed: Path, entries: object, text: str) -> None:
        rewrite(listed, dataset=entries)
        assert text in problem(listed)


class TestContents:
    """Voxels and headers."""

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
    @pytest.mark.parametrize("file", ["imagesTr/case_001_0001.nii.gz", "labelsTr/case_001.nii.gz"])
    def test_truncated_stream(self, folder: Path, file: str, share: float) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: int(len(content) * share)])
        expected = f"{folder / file}: expected an intact image, but it is corrupt or truncated ("
        assert problem(folder).startswith(expected)

    def test_truncated_inside_a_whole_stream(self, folder: Path) -> None:
        file = folder / "imagesTr" / "case_003_0000.nii.gz"
        content = gzip.decompress(file.read_bytes())
        file.write_bytes(gzip.compress(content[:-100]))
        assert f"({len(content) - 100} bytes, the header announces {len(content)})" in problem(folder)

    def test_flipped_bit(self, folder: Path) -> None:
        file = folder / "imagesTr" / "case_002_0000.nii.gz"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
        assert problem(folder).startswith(f"{file}: expected an intact image, but it is corrupt")

    @pytest.mark.parametrize("case", [0, 1])
    def test_no_image_at_all(self, folder: Path, case: int) -> None:
        file = folder / "imagesTr" / f"case_00{case}_0000.nii.gz"
        file.write_text("<html>not found</html>")
        assert problem(folder).startswith(f"{file}: expected an intact image, but it is corrupt")

    @pytest.mark.parametrize("name", ["imagesTr/case_001_0001.nii.gz", "labelsTr/case_001.nii.gz"])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_not_finite(self, folder: Path, name: str, value: float) -> None:
        file = folder / name
        edit(file, lambda array: array.__setitem__((slice(2, 4), 3, 1), value))
        assert problem(folder).startswith(f"{file}: expected finite values, found NaN or Inf in 2 voxels.")

    @pytest.mark.parametrize(("value", "shown"), [(4, "4"), (-1, "-1"), (0.5, "0.5")])
    def test_undeclared_label(self, folder: Path, value: float, shown: str) -> None:
        file = folder / "labelsTr" / "case_002.nii.gz"
        edit(file, lambda array: array.__setitem__((0, 0, 0), value))
        assert f"{file}: expected the labels of dataset.json, 0 to 3, found {shown} in 1 voxel." in problem(folder)

    def test_shape_of_a_label(self, folder: Path) -> None:
        file = folder / "labelsTr" / "case_000.nii.gz"
        edit(file, lambda array: array[:-1], dtype=np.uint8)
        expected = "expected the shape (8, 12, 10) of case_000_0000.nii.gz, got (8, 12, 9). Resample"
        assert f"{file}: {expected}" in problem(folder)

    def test_shape_of_a_channel(self, folder: Path) -> None:
        file = folder / "imagesTr" / "case_000_0001.nii.gz"
        edit(file, lambda array: array[..., :-2])
        assert f"{file}: expected the shape (8, 12, 10) of case_000_0000.nii.gz, got (6, 12, 10)." in problem(folder)

    def test_spacing(self, folder: Path) -> None:
        file = folder / "labelsTr" / "case_001.nii.gz"
        move(file, lambda affine: affine.__setitem__((2, 2), 3.0))
        assert f"{file}: expected the spacing (2.5, 1, 1) mm of case_001_0000.nii.gz, got (3, 1, 1)." in problem(folder)

    @pytest.mark.parametrize("file", ["imagesTr/case_001_0001.nii.gz", "labelsTr/case_001.nii.gz"])
    def test_origin(self, folder: Path, file: str) -> None:
        move(folder / file, lambda affine: affine.__setitem__((0, 3), 2.0))
        expected = "expected the origin and direction of case_001_0000.nii.gz, found it up to 2 voxels away."
        assert f"{folder / file}: {expected}" in problem(folder)

    def test_direction(self, folder: Path) -> None:
        file = folder / "labelsTr" / "case_001.nii.gz"
        move(file, lambda affine: affine.__setitem__((1, 1), -1.0))
        assert f"{file}: expected the origin and direction of case_001_0000.nii.gz" in problem(folder)

    def test_rounding_of_the_header_passes(self, folder: Path) -> None:
        move(folder / "labelsTr" / "case_001.nii.gz", lambda affine: affine.__setitem__((0, 3), 0.01))
        check_dataset(folder, show_progress=False)

    def test_number_of_bad_cases(self, folder: Path) -> None:
        for case in (0, 2, 3):
            edit(folder / "labelsTr" / f"case_00{case}.nii.gz", lambda array: array.__setitem__((0, 0, 0), 7))
        text = problem(folder)
        assert text.startswith(f"{folder / 'labelsTr' / 'case_000.nii.gz'}: ")
        assert text.endswith(" (and 2 more cases)")


class TestOtherFormats:
    """Whatever nnU-Net reads."""

    @pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii"])
    def test_truncated(self, tmp_path: Path, sound: Path, ending: str) -> None:
        folder = tmp_path / "Dataset903_Other"
        for source in (*sound.glob("imagesTr/*_000[01].nii.gz"), *sound.glob("labelsTr/*.nii.gz")):
            target = folder / source.parent.name / source.name.replace(".nii.gz", ending)
            target.parent.mkdir(parents=True, exist_ok=True)
            SimpleITK.WriteImage(SimpleITK.ReadImage(str(source)), str(target))
        shutil.copy(sound / "dataset.json", folder)
        rewrite(folder, file_ending=ending)
        check_dataset(folder, show_progress=False)
        file = folder / "imagesTr" / f"case_002_0001{ending}"
        file.write_bytes(file.read_bytes()[:-500])
        assert problem(folder).startswith(f"{file}: expected an intact image, but it is corrupt or truncated (")

    @pytest.fixture
    def photos(self, tmp_path: Path) -> Path:
        """RGB photographs: three channels in one file."""
        from skimage.io import imsave

        folder = tmp_path / "Dataset904_Photos"
        rng = np.random.default_rng(0)
        for part in ("imagesTr", "labelsTr"):
            (folder / part).mkdir(parents=True)
        for case in ("a", "b"):
            rgb = rng.integers(0, 255, (16, 12, 3), np.uint8)
            imsave(folder / "imagesTr" / f"{case}_0000.png", rgb)
            imsave(folder / "labelsTr" / f"{case}.png", (rgb[..., 0] > 99).astype(np.uint8), check_contrast=False)
        description = {
            "channel_names": {"0": "R", "1": "G", "2": "B"},
            "labels": {"background": 0, "road": 1},
            "numTraining": 2,
            "file_ending": ".png",
        }
        (folder / "dataset.json").write_text(json.dumps(description))
        return folder

    def test_colour_photographs(self, photos: Path) -> None:
        check_dataset(photos, show_progress=False)

    def test_truncated_photograph(self, photos: Path) -> None:
        file = photos / "imagesTr" / "b_0000.png"
        file.write_bytes(file.read_bytes()[:300])
        assert problem(photos).startswith(f"{file}: expected an intact image, but it is corrupt or truncated (")

    def test_too_few_channels_in_a_photograph(self, photos: Path) -> None:
        rewrite(photos, channel_names={"0": "R", "1": "G", "2": "B", "3": "depth"})
        assert "a_0000.png: expected 4 channels of case 'a' as in dataset.json, found 3." in problem(photos)

    def test_surplus_channels_of_a_photograph(self, photos: Path) -> None:
        from skimage.io import imsave

        imsave(photos / "imagesTr" / "b_0000.png", np.zeros((16, 12, 4), np.uint8), check_contrast=False)
        text = problem(photos)
        assert "expected 3 channels of case 'b' as in dataset.json, found 4. Remove the surplus" in text

    @pytest.mark.parametrize("channels", [(0, 1, 1), (1, 1, 1)])
    def test_labels_of_a_photograph_with_several_channels(self, photos: Path, channels: tuple[int, ...]) -> None:
        from skimage.io import imread, imsave

        file = photos / "labelsTr" / "b.png"
        label = imread(file)
        imsave(file, np.stack([label * channel for channel in channels], -1), check_contrast=False)
        assert f"{file}: expected a label with one value in each voxel, found 3. A label has" in problem(photos)

    def test_no_reader(self, folder: Path) -> None:
        for file in (folder / "imagesTr").iterdir():
            file.rename(file.with_name(file.name.replace(".nii.gz", ".dcm")))
        rewrite(folder, file_ending=".dcm", numTraining=4)
        for file in (folder / "labelsTr").iterdir():
            file.rename(file.with_name(file.name.replace(".nii.gz", ".dcm")))
        assert "case_000_0000.dcm: expected an image that nnU-Net can read" in problem(folder)


class TestImages:
    """Prediction input: no labels, no numTraining."""

    @pytest.fixture
    def description(self, folder: Path) -> dict:
        return json.loads((folder / "dataset.json").read_text())

    def test_sound(self, folder: Path, description: dict) -> None:
        check_images(folder / "imagesTs", description, PLANS, show_progress=False)

    def test_no_folder(self, folder: Path, description: dict) -> None:
        with pytest.raises(UserError, match=r"nowhere: expected a folder of images, found none"):
            check_images(folder / "nowhere", description, PLANS, show_progress=False)

    def test_empty_folder(self, tmp_path: Path, description: dict) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match=r"empty: expected images named CASE_0000.nii.gz, found none\."):
            check_images(tmp_path / "empty", description, PLANS, show_progress=False)

    def test_missing_channel(self, folder: Path, description: dict) -> None:
        (folder / "imagesTs" / "unseen_000_0001.nii.gz").unlink()
        with pytest.raises(UserError, match=r"expected 2 channels of case 'unseen_000' as in dataset.json, found 1"):
            check_images(folder / "imagesTs", description, PLANS, show_progress=False)

    def test_truncated_file(self, folder: Path, description: dict) -> None:
        file = folder / "imagesTs" / "unseen_001_0000.nii.gz"
        file.write_bytes(file.read_bytes()[:-5])
        with pytest.raises(UserError, match=r"unseen_001_0000.nii.gz: expected an intact image, but it is corrupt"):
            check_images(folder / "imagesTs", description, PLANS, show_progress=False)
