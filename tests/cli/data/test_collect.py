"""nnunet_ext collect: every form of a member, what is written, and that nothing is ever overwritten."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nibabel import Nifti1Image, load, save

from nnunet_ext.cli.main import main
from nnunet_ext.collection.collect import collect as collecting
from nnunet_ext.collection.manifest import ManifestTask
from nnunet_ext.collection.members import read_manifest
from nnunet_ext.data.dataset_check import check_dataset
from nnunet_ext.phantoms.dataset import write_phantom_dataset

SHAPE = (8, 12, 10)
Mistake = Callable[[Any], str]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three datasets: labels, two channels with an ignore label, regions."""
    raw = tmp_path_factory.mktemp("nnunet") / "raw"
    write_phantom_dataset(raw, "Dataset003_Liver", cases=3, shape=SHAPE)
    write_phantom_dataset(raw, "Dataset004_PET", cases=12, shape=SHAPE, channels=2, ignore=True)
    write_phantom_dataset(raw, "Dataset040_Head", cases=5, shape=SHAPE, regions=True)
    return raw


@pytest.fixture
def raw(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nnUNet_raw with a copy of them, the other folders empty; the current folder is a third one."""
    shutil.copytree(written, tmp_path / "raw")
    for name in ("raw", "preprocessed", "results", "here"):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "raw"


def collect(*members: str, number: int = 900) -> int:
    return main(["collect", "-d", str(number), "-n", "MOTS", "--no_pbar", *members])


def words(*members: str) -> list[str]:
    return ["collect", "-d", "900", "-n", "MOTS", "--no_pbar", *members]


def manifest(raw: Path) -> dict[str, Any]:
    return json.loads((raw / "Dataset900_MOTS" / "dataset.json").read_text())


def description(raw: Path, name: str) -> dict[str, Any]:
    return json.loads((raw / name / "dataset.json").read_text())


def names(raw: Path) -> list[str]:
    return sorted(path.name for path in raw.iterdir())


def annotate(raw: Path, annotated: dict[str, list[str]], name: str = "Dataset004_PET") -> None:
    """Say in dataset.json what was annotated and remove from the label files what was not."""
    file = raw / name / "dataset.json"
    content = json.loads(file.read_text()) | {"annotated": annotated}
    file.write_text(json.dumps(content))
    for case, classes in annotated.items():
        label = raw / name / "labelsTr" / f"{case}.nii.gz"
        image = load(label)
        voxels = np.asarray(image.dataobj)
        gone = [value for each, value in content["labels"].items() if each not in (*classes, "ignore")]
        save(Nifti1Image(np.where(np.isin(voxels, gone), 0, voxels).astype(np.uint8), image.affine), label)


def test_whole_data_sets(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = names(raw)
    assert collect("3", "Dataset004_PET", "040:name=head") == 0
    assert manifest(raw) == {
        "tasks": {
            "Liver": {"dataset": "Dataset003_Liver"},
            "PET": {"dataset": "Dataset004_PET"},
            "head": {"dataset": "Dataset040_Head"},
        },
        "spacing": "own",
        "normalization": "own",
    }
    assert names(raw) == [*before, "Dataset900_MOTS"]
    assert [path.name for path in (raw / "Dataset900_MOTS").iterdir()] == ["dataset.json"]
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        str(raw / "Dataset900_MOTS" / "dataset.json"),
        "",
        "task   dataset           cases  channels  labels",
        "Liver  Dataset003_Liver  3      1         organ, wall, tumour",
        "PET    Dataset004_PET    12     2         organ, wall, tumour, ignore",
        "head   Dataset040_Head   5      1         organ, wall, tumour",
        "",
        "Next: nnunet_ext plan_and_preprocess -d 900 -pl UniSegPlanner",
    ]


def test_every_setting(raw: Path) -> None:
    Path("few.txt").write_text("case_003\n\n case_001 \ncase_010\ncase_001\n")
    assert (
        main(
            [
                *words("4:labels=tumour/lesion+organ,cases=few.txt,weight=2,spacing=3x1.5x1,normalization=CT+noNorm"),
                *("--spacing", "one", "--normalization", "one"),
            ]
        )
        == 0
    )
    assert manifest(raw) == {
        "tasks": {
            "PET_organ_lesion": {
                "dataset": "Dataset901_PET_organ_lesion",
                "source": "Dataset004_PET",
                "labels": {"organ": "organ", "tumour": "lesion"},
                "weight": 2.0,
                "spacing": [3.0, 1.5, 1.0],
                "normalization": ["CTNormalization", "NoNormalization"],
            }
        },
        "spacing": "one",
        "normalization": "one",
    }
    part = description(raw, "Dataset901_PET_organ_lesion")
    assert part["labels"] == {"background": 0, "organ": 1, "lesion": 2, "ignore": 3}
    assert list(part["dataset"]) == ["case_001", "case_003", "case_010"]
    check_dataset(raw / "Dataset901_PET_organ_lesion", show_progress=False)


def test_the_manifest_is_one_that_is_read(raw: Path) -> None:
    assert collect("3:normalization=zscore", "4:labels=wall", "40:labels=tumour,name=t", "4:labels=tumour") == 0
    assert read_manifest(raw / "Dataset900_MOTS").tasks == (
        ManifestTask("Liver", "Dataset003_Liver", normalization=("ZScoreNormalization",)),
        ManifestTask("PET_wall", "Dataset901_PET_wall", "Dataset004_PET", (("wall", "wall"),)),
        ManifestTask("t", "Dataset902_t", "Dataset040_Head", (("tumour", "tumour"),)),
        ManifestTask("PET_tumour", "Dataset903_PET_tumour", "Dataset004_PET", (("tumour", "tumour"),)),
    )


def test_one_normalization_serves_all_channels(raw: Path) -> None:
    assert collect("4:normalization=ZScoreNormalization") == 0
    assert manifest(raw)["tasks"]["PET"]["normalization"] == ["ZScoreNormalization"] * 2


def test_all_labels_under_their_names_are_the_whole_data_set(raw: Path) -> None:
    assert collect("3:labels=tumour+wall+organ") == 0
    assert manifest(raw)["tasks"] == {"Liver": {"dataset": "Dataset003_Liver"}}


def test_cases_alone(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("few.txt").write_text("case_003\ncase_001")
    assert collect("4:cases=few.txt") == 0
    assert manifest(raw)["tasks"]["PET"]["dataset"] == "Dataset901_PET"
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("PET "))
    folds = json.loads((raw / "Dataset901_PET" / "splits_final.json").read_text())
    empty = [str(number) for number, fold in enumerate(folds) if not fold["val"]]
    assert row.endswith(f"no validation case in folds {', '.join(empty)}")


class TestSignatures:
    """A dataset whose cases were annotated for different classes."""

    def test_a_task_for_each(self, raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
        annotated = {f"case_{number:03d}": ["organ"] for number in range(5)}
        annotated |= {f"case_{number:03d}": ["organ", "wall"] for number in range(5, 10)}
        annotate(raw, annotated)
        assert collect("3", "4:weight=3") == 0
        tasks = manifest(raw)["tasks"]
        assert [(name, entry["dataset"], entry.get("weight")) for name, entry in tasks.items()] == [
            ("Liver", "Dataset003_Liver", None),
            ("PET_organ", "Dataset901_PET_organ", 3.0),
            ("PET_organ_wall", "Dataset902_PET_organ_wall", 3.0),
        ]
        assert list(description(raw, "Dataset901_PET_organ")["dataset"]) == list(annotated)[:5]
        merged = description(raw, "Dataset902_PET_organ_wall")
        assert merged["labels"] == {"background": 0, "organ": 1, "wall": 2, "ignore": 3}
        assert list(merged["dataset"]) == [f"case_{number:03d}" for number in range(5, 12)]
        assert "2 cases of organ+wall+tumour joined: tumour not used there" in capsys.readouterr().out
        for name in ("Dataset901_PET_organ", "Dataset902_PET_organ_wall"):
            check_dataset(raw / name, show_progress=False)

    def test_names(self, raw: Path) -> None:
        annotate(raw, {f"case_{number:03d}": ["organ"] for number in range(6)})
        assert collect("4:name=body") == 0
        assert list(manifest(raw)["tasks"]) == ["body_organ", "body_organ_wall_tumour"]

    def test_all_cases_alike(self, raw: Path) -> None:
        annotate(raw, {f"case_{number:03d}": ["organ"] for number in range(12)})
        assert collect("4") == 0
        assert manifest(raw)["tasks"]["PET_organ"]["labels"] == {"organ": "organ"}

    def test_label_that_was_not_annotated(self, raw: Path, mistake: Mistake) -> None:
        annotate(raw, {f"case_{number:03d}": ["organ"] for number in range(6)})
        shutil.copy(raw / "Dataset003_Liver" / "labelsTr" / "case_001.nii.gz", raw / "Dataset004_PET" / "labelsTr")
        before = names(raw)
        found = mistake(words("4"))
        assert found.startswith(f"{raw / 'Dataset004_PET' / 'labelsTr' / 'case_001.nii.gz'}: expected only what")
        assert "case 'case_001' (organ), found label 2 (wall)" in found
        assert names(raw) == before

    def test_rare(self, raw: Path, mistake: Mistake) -> None:
        annotate(raw, {"case_003": ["wall"]})
        assert mistake(words("4")).startswith("4: expected at least 5 cases annotated for exactly wall, or some of")


class TestNumbers:
    """Parts get the next free number."""

    def test_numbers_of_all_three_folders_are_used(self, raw: Path) -> None:
        for folder, number in (("raw", 901), ("preprocessed", 902), ("results", 904)):
            (raw.parent / folder / f"Dataset{number}_X").mkdir()
        assert collect("4:labels=wall", "4:labels=organ") == 0
        assert names(raw)[-2:] == ["Dataset903_PET_wall", "Dataset905_PET_organ"]

    def test_after_999_comes_1(self, raw: Path) -> None:
        (raw / "Dataset999_X").mkdir()
        assert collect("4:labels=wall", "4:labels=organ", number=998) == 0
        assert names(raw)[:2] == ["Dataset001_PET_wall", "Dataset002_PET_organ"]

    def test_none_free(self, raw: Path, mistake: Mistake) -> None:
        for number in (*range(1, 900), *range(901, 1000)):
            (raw / f"Dataset{number:03d}_X").mkdir()
        assert "expected a free number" in mistake(words("Dataset004_PET:labels=wall"))


class TestAgain:
    """The same call twice changes nothing; another one never overwrites."""

    MEMBERS = ("3", "4:labels=wall", "40:labels=tumour")

    def state(self, raw: Path) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in sorted(raw.rglob("*"))}

    def test_the_same(self, raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert collect(*self.MEMBERS) == 0
        before, said = self.state(raw), capsys.readouterr().out
        assert collect(*self.MEMBERS) == 0
        assert self.state(raw) == before
        assert capsys.readouterr().out == said

    def test_after_a_crash_before_the_manifest(self, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def crash(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(collecting, "write_json", crash)
            assert collect(*self.MEMBERS) == 130
        assert not (raw / "Dataset900_MOTS" / "dataset.json").exists()
        (raw / "Dataset902_Head_tumour").rename(
            raw / "Dataset950_Head_tumour"
        )  # found by its record, not by its number
        assert collect(*self.MEMBERS) == 0
        assert [entry["dataset"] for entry in manifest(raw)["tasks"].values()] == [
            "Dataset003_Liver",
            "Dataset901_PET_wall",
            "Dataset950_Head_tumour",
        ]

    def test_a_part_that_was_deleted_is_written_again(self, raw: Path) -> None:
        assert collect(*self.MEMBERS) == 0
        shutil.rmtree(raw / "Dataset901_PET_wall")
        shutil.rmtree(raw / "Dataset902_Head_tumour")
        assert collect(*self.MEMBERS) == 0
        check_dataset(raw / "Dataset901_PET_wall", show_progress=False)
        check_dataset(raw / "Dataset902_Head_tumour", show_progress=False)

    def test_other_tasks(self, raw: Path, mistake: Mistake) -> None:
        assert collect(*self.MEMBERS) == 0
        before = self.state(raw)
        assert "found tasks Liver, PET_wall, Head_tumour instead of Liver, PET." in mistake(words("3", "4"))
        assert self.state(raw) == before

    @pytest.mark.parametrize(
        ("other", "found"),
        [
            (
                ["3:weight=2"],
                """found task 'Liver' as {"dataset": "Dataset003_Liver"} instead of {"dataset": "Dataset003""",
            ),
            (["3", "--spacing", "one"], "found another spacing, normalization or network_of."),
        ],
    )
    def test_other_settings(self, raw: Path, mistake: Mistake, other: list[str], found: str) -> None:
        assert collect("3") == 0
        assert found in mistake(words(*other))

    def test_another_part_of_the_same_task(self, raw: Path, mistake: Mistake) -> None:
        assert collect("4:labels=wall,name=x") == 0
        (raw / "Dataset900_MOTS" / "dataset.json").unlink()
        before = self.state(raw)
        found = mistake(words("4:labels=organ,name=x"))
        assert found.startswith(f"{raw / 'Dataset901_x'}: expected task 'x' as requested now, found it written before")
        assert self.state(raw) == before

    def test_ordinary_data_set_in_its_place(self, raw: Path, mistake: Mistake) -> None:
        shutil.copytree(raw / "Dataset003_Liver", raw / "Dataset900_MOTS")
        assert "found one that is not a collection. Choose another number" in mistake(words("3"))

    @pytest.mark.parametrize("folder", ["raw", "preprocessed", "results"])
    def test_number_that_something_else_has(self, raw: Path, mistake: Mistake, folder: str) -> None:
        (raw.parent / folder / "Dataset900_Else").mkdir()
        assert mistake(words("3")) == (
            "Dataset900_MOTS: expected a free number, Dataset900_Else has it too. Choose another number after -d."
        )


@pytest.mark.parametrize(
    ("members", "found"),
    [
        (["7"], "expected dataset '7', found none. Legal: Dataset003_Liver, Dataset004_PET, Dataset040_Head."),
        (["3:labels=wal"], "3:labels=wal: unknown label 'wal' of Dataset003_Liver. Did you mean 'wall'?"),
        (["3:labels=wall+wall"], "3:labels=wall+wall: expected label 'wall' once, got it twice. Remove one."),
        (["3:labels=wall/"], "3:labels=wall/: expected a name of its own for each class"),
        (["4:labels=wall+ignore"], "expected classes, got 'ignore', which every part keeps anyway"),
        (["3:wall"], "3:wall: expected key=value, got 'wall'. Legal keys: name, labels, cases, weight, spacing, norm"),
        (["3:lables=wall"], "3:lables=wall: unknown key 'lables'. Did you mean 'labels'?"),
        (["3:name=a,name=b"], "3:name=a,name=b: expected 'name' once, got it twice."),
        (["3:name=a__b"], "3:name=a__b: expected a task named with letters and digits"),
        (["3:cases=none.txt"], "3:cases=none.txt: expected none.txt to be a text file with one case on each line"),
        (
            ["3:cases=one.txt"],
            "3:cases=one.txt: expected at least 2 cases for task 'Liver' (one trains, one validates)",
        ),
        (["3:cases=typo.txt"], "typo.txt: unknown case 'cse_001' of Dataset003_Liver. Did you mean 'case_001'?"),
        (["3:weight=0"], "3:weight=0: 'weight': expected a weight above 0, got 0.0."),
        (["3:weight=much"], "3:weight=much: 'weight': expected a weight above 0, got 'much'."),
        (["3:spacing=1x1"], "'spacing', written as 3x1.5x1.5: expected a spacing of three numbers of mm above 0"),
        (["3:spacing=1x1xa"], "expected a spacing of three numbers of mm above 0, got [1.0, 1.0, 'a']."),
        (["3:normalization=CTT"], "3:normalization=CTT: unknown normalization 'CTT'. Did you mean 'ct'?"),
        (
            ["3:normalization=CT+CT"],
            "expected one normalization, or one for each of 1 channels joined with '+', got 2.",
        ),
        (
            ["3", "3:name=b"],
            "3:name=b: expected one task for each whole dataset, Dataset003_Liver is also that of 'Liver'",
        ),
        (["3", "4:name=liver"], "4:name=liver: expected another task name than that of '3', got 'liver' too."),
        (["900"], "900: expected an ordinary dataset, found the collection 'Dataset900_MOTS'."),
    ],
)
def test_mistakes(raw: Path, mistake: Mistake, members: list[str], found: str) -> None:
    Path("one.txt").write_text("case_000")
    Path("typo.txt").write_text("cse_001")
    if members == ["900"]:
        assert collect("3") == 0
    before = names(raw)
    assert found in mistake(words(*members))
    assert names(raw) == before


def test_numbers_and_names(raw: Path, mistake: Mistake) -> None:
    assert "expected a number from 1 to 999, got 1000" in mistake("collect -d 1000 -n MOTS 3")
    assert "got 'Dataset900_a__b'" in mistake("collect -d 900 -n a__b 3")
    assert "got 'Dataset900_a/b'" in mistake("collect -d 900 -n a/b 3")


def test_long_names(raw: Path) -> None:
    label = "x" * 60
    assert (
        collect(f"3:labels=wall/{label}", f"4:labels=wall/{label}+tumour", "40:labels=wall/left atrium+tumour/b__c")
        == 0
    )
    assert list(manifest(raw)["tasks"]) == ["Liver_1class", "PET_2classes", "Head_left-atrium_b_c"]


def test_without_preprocessed_and_results(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("preprocessed", "results"):
        monkeypatch.delenv(f"nnUNet_{name}")
    assert collect("4:labels=wall") == 0


def test_progress_is_shown(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "-d", "900", "-n", "MOTS", "4:labels=wall"]) == 0
    assert "writing labels: 100%" in capsys.readouterr().err
