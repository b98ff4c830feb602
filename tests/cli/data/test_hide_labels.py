"""``nnunet_ext hide_labels``: choices, names and numbers, and a copy that is planned and preprocessed."""

import json
from pathlib import Path

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
        ("-d 901 -o 901 --keep 1", "expected no folder, or a copy with these cases, found another dataset"),
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
