"""``nnunet_ext hide_labels``: choices, names and numbers, and a copy that is planned and preprocessed."""

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nnunet_ext.cli.main import main
from nnunet_ext.semi_supervised.preprocessing import check_unlabelled


def run(words: str) -> None:
    assert main(["hide_labels", *words.split()]) == 0


def content(root: Path, name: str = "Dataset120_Phantom") -> dict:
    return json.loads((root / "raw" / name / "dataset.json").read_text())


def listing(root: Path, name: str, *cases: str) -> Path:
    file = root / name
    file.write_text("\n".join(cases))
    return file


def test_a_random_choice(nnunet, capsys):
    run("-d 901 -o 120 --keep 1")
    assert capsys.readouterr().out == (
        f"{nnunet / 'raw' / 'Dataset120_Phantom' / 'dataset.json'}: 1 labelled, 2 unlabelled, 0 test\n"
        f"Next: nnunet_ext plan_and_preprocess -d 120\n"
    )
    before = content(nnunet)
    run("-d Dataset901_Phantom -o 120 --keep 1 --seed 0")
    assert content(nnunet) == before
    others = set()
    for seed in range(1, 5):
        run(f"-d 901 -o {120 + seed} -n Seed{seed} --keep 1 --seed {seed}")
        others |= set(content(nnunet, f"Dataset{120 + seed}_Seed{seed}")["dataset"])
    assert len(others) > 1


def test_cases_by_name(nnunet):
    labelled, test = listing(nnunet, "labelled.txt", "case_002"), listing(nnunet, "test.txt", "case_000")
    run(f"-d 901 -o 120 -n Few --labelled {labelled} --test {test}")
    found = content(nnunet, "Dataset120_Few")
    assert [list(found[key]) for key in ("dataset", "unlabelled", "test")] == [["case_002"], ["case_001"], ["case_000"]]


def test_a_random_choice_leaves_the_test_cases_alone(nnunet):
    for name in ("case_000", "case_001", "case_002"):
        run(f"-d 901 -o 120 -n {name} --keep 1 --test {listing(nnunet, 'test.txt', name)}")
        found = content(nnunet, f"Dataset120_{name}")
        assert list(found["test"]) == [name]
        assert name not in found["dataset"] | found["unlabelled"]
        (nnunet / "raw" / f"Dataset120_{name}" / "dataset.json").unlink()
        (nnunet / "raw" / f"Dataset120_{name}").rmdir()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("-d 902 -o 120 --keep 1", "expected dataset '902', found none."),
        ("-d 901 -o 0 --keep 1", "-o: expected a number from 1 to 999, got 0."),
        ("-d 901 -o 901 --keep 1", "-o 901: expected the number of a new dataset, got that of the other one"),
        ("-d 901 -o 901 -n Few --keep 1", "Dataset901_Few: expected a free number, Dataset901_Phantom has it too."),
        ("-d 901 -o 120 -n a__b --keep 1", "expected a dataset named like Dataset003_Liver"),
        (
            "-d 901 -o 120 --keep 3",
            "expected at least one of 3 cases to stay labelled and one to be hidden or set apart",
        ),
        ("-d 901 -o 120 --keep 1 --seed -1", "--seed -1: expected a number from 0 up beside --keep."),
        ("-d 901 -o 120 --labelled none.txt --seed 1", "--seed 1: expected a number from 0 up beside --keep."),
        ("-d 901 -o 120 --labelled none.txt", "--labelled: expected none.txt to be a text file with one case"),
        ("-d 901 -o 120 --keep 1 --test none.txt", "--test: expected none.txt to be a text file with one case"),
    ],
)
def test_mistakes_write_nothing(nnunet, mistake, words, text):
    before = sorted(nnunet.rglob("*"))
    assert text in mistake(f"hide_labels {words}")
    assert sorted(nnunet.rglob("*")) == before


@pytest.mark.parametrize("words", ["-d 901 -o 120", "-d 901 -o 120 --keep 1 --labelled a.txt"])
def test_one_way_to_choose(nnunet, mistake, words):
    assert "--keep" in mistake(f"hide_labels {words}")


def test_the_copy_is_planned_and_preprocessed(nnunet):
    labelled = listing(nnunet, "labelled.txt", "case_000", "case_002")
    run(f"-d 901 -o 120 --labelled {labelled}")
    words = "-d 120 -pl LitePlanner --no_pbar -c 3d_fullres -np 1"
    assert main(["plan_and_preprocess", *words.split()]) == 0
    folder = nnunet / "preprocessed" / "Dataset120_Phantom"
    plans = json.loads((folder / "LitePlans.json").read_text())
    assert check_unlabelled(folder, plans, "3d_fullres") == ["case_001"]
    assert sorted(file.stem for file in (folder / "LitePlans_3d_fullres").glob("*.pkl")) == ["case_000", "case_002"]
    assert not list(folder.rglob("case_001.nii.gz"))
    assert len(json.loads((folder / "dataset_fingerprint.json").read_text())["spacings"]) == 2


def label(root: Path, dataset: str, case: str) -> np.ndarray:
    return np.asarray(nibabel.load(root / "raw" / dataset / "labelsTr" / f"{case}.nii.gz").dataobj)


@pytest.mark.parametrize("axis", [0, 2])
def test_every_kth_slice(nnunet, axis, capsys):
    """Axes are those of nnU-Net's spacings; nibabel has them the other way round."""
    test = listing(nnunet, "test.txt", "case_002")
    words = f"-d 901 -o 120 --every_slice 5 --axis {axis} --test {test}"
    run(words)
    assert "2 labelled, 0 unlabelled, 1 test" in capsys.readouterr().out
    found = content(nnunet)
    assert found["labels"] == {"background": 0, "organ": 1, "wall": 2, "tumour": 3, "ignore": 4}
    assert found["kept_slices"] == {"every": 5, "axis": axis}
    assert found["dataset"]["case_000"]["label"] == "labelsTr/case_000.nii.gz"
    assert found["test"]["case_002"]["label"] == "../Dataset901_Phantom/labelsTr/case_002.nii.gz"
    for case in ("case_000", "case_001"):
        dense, sparse = (
            np.moveaxis(label(nnunet, name, case), 2 - axis, 0) for name in ("Dataset901_Phantom", "Dataset120_Phantom")
        )
        kept = sorted({*range(0, len(dense), 5), len(dense) - 1})
        assert np.array_equal(sparse[kept], dense[kept])
        assert (np.delete(sparse, kept, axis=0) == 4).all()
    gone = nnunet / "raw" / "Dataset120_Phantom" / "labelsTr" / "case_001.nii.gz"
    gone.unlink()  # as a killed call leaves it
    kept = gone.with_name("case_000.nii.gz")
    before = content(nnunet), kept.stat().st_mtime_ns
    run(words)
    assert gone.is_file()
    assert (content(nnunet), kept.stat().st_mtime_ns) == before
    source = nnunet / "raw" / "Dataset901_Phantom" / "labelsTr" / kept.name
    stored = nibabel.load(source)
    nibabel.save(nibabel.Nifti1Image(np.zeros(stored.shape, np.uint8), stored.affine), source)  # corrected since
    os.utime(source, ns=(before[1] + 10**9, before[1] + 10**9))
    run(words)
    assert set(np.unique(label(nnunet, "Dataset120_Phantom", "case_000"))) == {0, 4}


def test_slices_of_few_cases(nnunet):
    run("-d 901 -o 120 --keep 2 --every_slice 4")
    assert {key: len(content(nnunet)[key]) for key in ("dataset", "unlabelled")} == {"dataset": 2, "unlabelled": 1}


def test_mistakes_with_slices(nnunet, mistake):
    assert "expected --every_slice beside --axis" in mistake("hide_labels -d 901 -o 120 --keep 1 --axis 1")
    run("-d 901 -o 120 --every_slice 5")
    assert "a copy with others" in mistake("hide_labels -d 901 -o 120 --every_slice 4")
    assert "expected more than 999 slices along axis 0" in mistake("hide_labels -d 901 -o 121 --every_slice 999")
