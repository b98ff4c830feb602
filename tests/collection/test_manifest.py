"""A manifest says which datasets are tasks; every mistake in it gets one line."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nnunet_ext.collection.manifest import Manifest, ManifestTask, parse_manifest
from nnunet_ext.collection.members import read_manifest
from nnunet_ext.data.dataset_json import is_collection
from nnunet_ext.errors import UserError
from nnunet_ext.phantoms.dataset import write_phantom_dataset

SHAPE = (8, 12, 10)
LIVER = {"dataset": "Dataset003_Liver"}
PART = {"dataset": "Dataset003_Liver", "source": "Dataset004_PET", "labels": {"wall": "wall"}}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Members, good and bad."""
    raw = tmp_path_factory.mktemp("raw")
    write_phantom_dataset(raw, "Dataset003_Liver", cases=2, shape=SHAPE)
    write_phantom_dataset(raw, "Dataset004_PET", cases=2, shape=SHAPE, channels=2)
    write_phantom_dataset(raw, "Dataset005_Single", cases=1, shape=SHAPE)
    flat = write_phantom_dataset(raw, "Dataset006_Flat", cases=2, shape=SHAPE)
    for image in flat.glob("imagesTr/*.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(np.zeros((10, 12, 1), np.float32), np.eye(4)), image)
    (raw / "Dataset007_Other").mkdir()
    (raw / "Dataset007_Other" / "dataset.json").write_text('{"tasks": {}}')
    (raw / "Dataset008_a__b").mkdir()
    return raw


def write(raw: Path, content: object, name: str = "Dataset900_MOTS") -> Path:
    """Write a manifest, text as it is, and return its folder."""
    folder = raw / name
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def problem(raw: Path, content: object, name: str = "Dataset900_MOTS") -> str:
    """The one line about a manifest, without the file that it begins with."""
    folder = write(raw, content, name)
    with pytest.raises(UserError) as caught:
        read_manifest(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{folder / 'dataset.json'}: ")
    return text.removeprefix(f"{folder / 'dataset.json'}: ")


def task_problem(raw: Path, **entry: object) -> str:
    """The one line about a task named x on Dataset003_Liver."""
    text = problem(raw, {"tasks": {"x": LIVER | entry}})
    assert text.startswith("task 'x': ")
    return text.removeprefix("task 'x': ")


def test_all_keys(raw: Path) -> None:
    tasks = {
        "pet.2-b_c": {
            "dataset": "Dataset004_PET",
            "weight": 2,
            "spacing": [3, 1.5, 1],
            "normalization": ["CTNormalization", "NoNormalization"],
        },
        "liver": PART,
    }
    found = read_manifest(write(raw, {"tasks": tasks, "spacing": "one", "normalization": "own", "licence": "CC0"}))
    assert found == Manifest(
        "Dataset900_MOTS",
        (
            ManifestTask(
                "pet.2-b_c",
                "Dataset004_PET",
                weight=2.0,
                spacing=(3.0, 1.5, 1.0),
                normalization=("CTNormalization", "NoNormalization"),
            ),
            ManifestTask("liver", "Dataset003_Liver", "Dataset004_PET", (("wall", "wall"),)),
        ),
        "one",
        "own",
    )


def test_what_is_written_is_read_again(raw: Path) -> None:
    manifest = Manifest(
        "Dataset900_MOTS",
        (
            ManifestTask("b", "Dataset004_PET", "Dataset003_Liver", (("organ", "wall"),), 0.5, (1.0, 2.0, 3.0)),
            ManifestTask("a", "Dataset003_Liver", normalization=("CTNormalization",)),
        ),
        "own",
        "one",
    )
    assert read_manifest(write(raw, manifest.as_json())) == manifest


def test_the_defaults_leave_everything_to_the_members(raw: Path) -> None:
    found = read_manifest(write(raw, {"tasks": {"liver": LIVER}}))
    assert found == Manifest("Dataset900_MOTS", (ManifestTask("liver", "Dataset003_Liver"),), "own", "own")


def test_is_collection(raw: Path) -> None:
    assert is_collection({"tasks": {}})
    assert not is_collection(json.loads((raw / "Dataset003_Liver" / "dataset.json").read_text()))


class TestFile:
    """The file as a whole."""

    def test_missing(self, raw: Path) -> None:
        with pytest.raises(UserError, match=r"found no file\. Write it: nnunet_ext collect"):
            read_manifest(raw / "Dataset901_Nothing")

    def test_broken(self, raw: Path) -> None:
        assert problem(raw, "{").startswith("expected JSON, got ")

    def test_ordinary_dataset(self, raw: Path) -> None:
        assert "with the key 'tasks', found none" in problem(raw, {"labels": {}})

    def test_no_tasks(self, raw: Path) -> None:
        assert problem(raw, {"tasks": {}}).endswith("got {}. Name at least one task.")

    def test_task_named_twice(self, raw: Path) -> None:
        text = '{"tasks": {"a": {"dataset": "Dataset003_Liver"}, "a": {"dataset": "Dataset004_PET"}}}'
        assert problem(raw, text) == "expected each name once in an object, found 'a' twice. Rename one."

    def test_tasks_that_differ_in_case(self, raw: Path) -> None:
        found = problem(raw, {"tasks": {"pet": LIVER, "PET": {"dataset": "Dataset004_PET"}}})
        assert found == "expected each task once, found 'pet' and 'PET'. Rename one."

    def test_two_tasks_on_one_member(self, raw: Path) -> None:
        found = problem(raw, {"tasks": {"a": LIVER, "b": LIVER}})
        assert found.startswith(
            "expected each member once, found 'Dataset003_Liver' and 'Dataset003_Liver'. Make parts"
        )

    def test_unknown_key(self, raw: Path) -> None:
        found = problem(raw, {"tasks": {"a": LIVER}, "spacin": "own"})
        assert (
            found == "unknown key 'spacin'. Did you mean 'spacing'? Legal: network_of, normalization, spacing, tasks."
        )

    @pytest.mark.parametrize("key", ["configurations", "3d_lowres", "3d_cascade_fullres", "2d", "previous_stage"])
    def test_configurations_and_cascades(self, raw: Path, key: str) -> None:
        found = problem(raw, {"tasks": {"a": LIVER}, key: 1})
        assert found.startswith(f"expected no {key!r}: a collection has the one configuration 3d_fullres, because its")
        assert found.endswith("and no cascade. Remove the key.")

    @pytest.mark.parametrize("key", ["spacing", "normalization"])
    def test_policy(self, raw: Path, key: str) -> None:
        found = problem(raw, {"tasks": {"a": LIVER}, key: "all"})
        assert found == f"'{key}': expected \"own\" or \"one\", got 'all'. Write one of them."

    @pytest.mark.parametrize("name", ["Dataset900_M__S", "Dataset900_M_", "Dataset900_", "Dataset900_a b", "MOTS"])
    def test_folder_name(self, tmp_path: Path, name: str) -> None:
        found = problem(tmp_path, {"tasks": {"a": LIVER}}, name)
        assert found.startswith("expected a dataset named like Dataset003_Liver")
        assert found.endswith(f"got {name!r}. Rename its folder.")


class TestTask:
    """One task's entry."""

    @pytest.mark.parametrize("name", ["", "a b", "a__b", "_a", "a_", "a/b", ".."])
    def test_name(self, raw: Path, name: str) -> None:
        assert problem(raw, {"tasks": {name: LIVER}}).startswith("expected a task named with letters and digits")

    @pytest.mark.parametrize("entry", ["Dataset003_Liver", {}, {"dataset": 3}])
    def test_no_dataset(self, raw: Path, entry: object) -> None:
        assert problem(raw, {"tasks": {"x": entry}}).endswith("Name its dataset.")

    def test_unknown_dataset(self, raw: Path) -> None:
        found = task_problem(raw, dataset="Dataset003_Livr")
        assert found.startswith("unknown dataset 'Dataset003_Livr'. Did you mean 'Dataset003_Liver'? Legal: ")

    def test_collection_as_member(self, raw: Path) -> None:
        found = task_problem(raw, dataset="Dataset007_Other")
        assert found.startswith("expected an ordinary dataset, found the collection 'Dataset007_Other'.")

    def test_member_name(self, raw: Path) -> None:
        assert "got 'Dataset008_a__b'" in problem(raw, {"tasks": {"x": {"dataset": "Dataset008_a__b"}}})

    def test_too_few_cases(self, raw: Path) -> None:
        found = task_problem(raw, dataset="Dataset005_Single")
        assert found.startswith(
            "expected a member of at least 2 cases (one trains, one validates), found 1 in Dataset005"
        )

    def test_2d(self, raw: Path) -> None:
        found = task_problem(raw, dataset="Dataset006_Flat")
        assert found.startswith("expected 3D images")
        assert "found a single slice in" in found

    def test_unknown_key(self, raw: Path) -> None:
        assert task_problem(raw, wieght=1).startswith("unknown key 'wieght'. Did you mean 'weight'?")

    def test_cascade(self, raw: Path) -> None:
        assert task_problem(raw, configuration="2d").startswith("expected no 'configuration': a collection has the one")

    @pytest.mark.parametrize("weight", [0, -1, "2", True, float("inf"), float("nan")])
    def test_weight(self, raw: Path, weight: object) -> None:
        assert task_problem(raw, weight=weight).startswith("'weight': expected a weight above 0, got ")

    @pytest.mark.parametrize("spacing", [1, [1, 1], [1, 1, 0], [1, 1, "1"], "own"])
    def test_spacing(self, raw: Path, spacing: object) -> None:
        assert task_problem(raw, spacing=spacing).startswith("'spacing': expected a spacing of three numbers")

    def test_normalization_is_a_list(self, raw: Path) -> None:
        found = task_problem(raw, normalization="CTNormalization")
        assert found.startswith("'normalization': expected a list with one normalization for each channel")

    def test_unknown_normalization(self, raw: Path) -> None:
        found = task_problem(raw, normalization=["CTNormalisation"])
        assert found.startswith(
            "'normalization': unknown normalization 'CTNormalisation'. Did you mean 'CTNormalization'"
        )

    def test_normalization_of_each_channel(self, raw: Path) -> None:
        found = task_problem(raw, normalization=["CTNormalization", "CTNormalization"])
        assert found == (
            "'normalization': expected one for each of 1 channels of Dataset003_Liver, got 2. Correct the list."
        )

    def test_labels_without_source(self, raw: Path) -> None:
        found = task_problem(raw, labels={"organ": "organ", "wall": "wall"})
        assert found.endswith("Let nnunet_ext collect write a member with these labels: 3:labels=organ+wall")

    @pytest.mark.parametrize(
        ("labels", "where"), [({"wal": "wall"}, "Dataset004_PET"), ({"wall": "wal"}, "Dataset003_Liver")]
    )
    def test_labels_that_are_not_there(self, raw: Path, labels: dict[str, str], where: str) -> None:
        found = task_problem(raw, source="Dataset004_PET", labels=labels)
        assert found.startswith(f"unknown label 'wal' of {where}. Did you mean 'wall'?")

    def test_labels_of_a_wrong_form(self, raw: Path) -> None:
        found = task_problem(raw, source="Dataset004_PET", labels=["wall"])
        assert found.startswith("'labels': expected names in the source and names in the member, got ['wall'].")

    def test_unknown_source(self, raw: Path) -> None:
        found = task_problem(raw, source="Dataset004_PETT")
        assert found.startswith("'source': unknown dataset 'Dataset004_PETT'. Did you mean 'Dataset004_PET'?")

    def test_source_that_is_a_number(self, raw: Path) -> None:
        assert task_problem(raw, source=4) == "'source': expected the name of a dataset, got 4. Correct it."


def test_parsing_alone_looks_nothing_up(tmp_path: Path) -> None:
    file = tmp_path / "Dataset900_MOTS" / "dataset.json"
    assert parse_manifest({"tasks": {"x": {"dataset": "Dataset001_Gone"}}}, file).tasks[0].dataset == "Dataset001_Gone"


@pytest.mark.parametrize("other", [7, "Dataset900_MOTS"])
def test_network_of_itself_or_of_nothing(raw: Path, other: object) -> None:
    found = problem(raw, {"tasks": {"liver": {"dataset": "Dataset003_Liver"}}, "network_of": other})
    assert f"'network_of': expected the name of another collection, got {other!r}" in found
