"""``nnunet_ext propagate_labels``: the new dataset, the table, the spacing to plan with, mistakes."""

import csv
import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nnunet_ext.cli.main import main
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.phantoms.dataset import write_phantom_dataset
from nnunet_ext.semi_supervised.hidden_labels import scored_cases
from nnunet_ext.semi_supervised.raw_images import find_unlabelled

SPARSE, FILLED = "Dataset124_Phantom", "Dataset125_Phantom"


class Pickling(ThreadPoolExecutor):
    def __init__(self, processes: int, *_: object) -> None:
        super().__init__(processes)

    def submit(self, function, *jobs):
        return super().submit(pickle.loads(pickle.dumps(function)), *jobs)


@pytest.fixture
def sparse(nnunet: Path) -> Path:
    """Two cases with every fourth slice of axis 0, one for testing; the folder with ``raw``."""
    (nnunet / "test.txt").write_text("case_002")
    assert main(f"hide_labels -d 901 -o 124 --every_slice 4 --test {nnunet / 'test.txt'}".split()) == 0
    return nnunet


def run(words: str) -> None:
    assert main(["propagate_labels", "--no_pbar", *words.split()]) == 0


def label(root: Path, dataset: str, case: str) -> np.ndarray:
    return np.asarray(nibabel.load(root / "raw" / dataset / "labelsTr" / f"{case}.nii.gz").dataobj).T


def content(root: Path, dataset: str = FILLED) -> dict:
    return json.loads((root / "raw" / dataset / "dataset.json").read_text())


def test_the_new_dataset(sparse, capsys):
    folds = [{"train": ["case_001"], "val": ["case_000"]}]
    (sparse / "preprocessed" / SPARSE).mkdir()
    (sparse / "preprocessed" / SPARSE / "splits_final.json").write_text(json.dumps(folds))
    capsys.readouterr()
    run("-d 124 -o 125")
    out = capsys.readouterr().out
    place = sparse / "raw" / FILLED
    assert sorted(file.name for file in place.iterdir()) == [
        "dataset.json",
        "labelsTr",
        "propagated.csv",
        "splits_final.json",
    ]
    assert json.loads((place / "splits_final.json").read_text()) == folds
    found = content(sparse)
    assert found["labels_propagated"] == {
        "from": SPARSE,
        "axis": None,
        "method": "shape",
        "keep": "confident",
        "gap": None,
        "annotated_share": 1.0,
        "outside": "ignore",
    }
    assert found["dataset"]["case_000"] == {
        "images": ["../Dataset901_Phantom/imagesTr/case_000_0000.nii.gz"],
        "label": "labelsTr/case_000.nii.gz",
    }
    (test,) = scored_cases(place, "test")
    assert test.label == sparse / "raw" / "Dataset901_Phantom" / "labelsTr" / "case_002.nii.gz"
    assert [case.name for case in RawDataset.read(place).cases()] == ["case_000", "case_001"]
    rows = list(csv.DictReader((place / "propagated.csv").open()))
    for row, case in zip(rows, ("case_000", "case_001"), strict=True):
        before, after = label(sparse, SPARSE, case), label(sparse, FILLED, case)
        assert np.array_equal(after[before != 4], before[before != 4])
        filled = (before == 4) & (after != 4)
        assert filled.any()
        kept = sorted({*range(0, len(before), 4), len(before) - 1})
        assert row["case"] == case
        assert [row[key] for key in ("axis", "annotated_slices", "largest_gap")] == ["0", str(len(kept)), "4"]
        assert [int(row[key]) for key in ("filled_voxels", "ignored_voxels")] == [filled.sum(), (after == 4).sum()]
        assert float(row["share_before"]) == pytest.approx(len(kept) / len(before), abs=1e-3)
        assert row["share_before_resampled"] == row["share_before"]  # planned at the images' own spacing
        headers = [nibabel.load(sparse / "raw" / name / "labelsTr" / f"{case}.nii.gz") for name in (SPARSE, FILLED)]
        assert np.array_equal(headers[0].affine, headers[1].affine)
        assert f"| {case} " in out
    assert out.endswith("Next: nnunet_ext plan_and_preprocess -d 125\n")
    assert "WARNING" not in out


def test_all_and_outside_leave_nothing_ignored(sparse):
    run("-d 124 -o 125 --keep all --method nearest --axis 0 --outside background")
    after, dense = label(sparse, FILLED, "case_000"), label(sparse, "Dataset901_Phantom", "case_000")
    assert (after != 4).all()
    assert np.array_equal(after[1], dense[0])


def test_several_processes_write_the_same(sparse, monkeypatch):
    """Threads stand for processes; everything that processes are sent can be pickled."""
    monkeypatch.setattr("nnunet_ext.processes.workers.ProcessPoolExecutor", Pickling)
    run("-d 124 -o 125")
    run("-d 124 -o 126 -n Again -np 2")
    for name in ("case_000", "case_001"):
        assert np.array_equal(label(sparse, FILLED, name), label(sparse, "Dataset126_Again", name))
    tables = [(sparse / "raw" / name / "propagated.csv").read_text() for name in (FILLED, "Dataset126_Again")]
    assert tables[0] == tables[1]


def test_a_dry_run_writes_nothing(sparse, capsys):
    before = sorted(sparse.rglob("*"))
    run("-d 124 -o 125 --dry_run")
    assert sorted(sparse.rglob("*")) == before
    out = capsys.readouterr().out
    assert "| case_001 |" in out
    assert "Nothing was written." in out


def test_unlabelled_images_are_kept(nnunet):
    assert main(["hide_labels", "-d", "901", "-o", "124", "--keep", "2", "--every_slice", "4"]) == 0
    run("-d 124 -o 125")
    place = nnunet / "raw" / FILLED
    (unlabelled,) = find_unlabelled(place)
    assert unlabelled.images[0].parent == nnunet / "raw" / "Dataset901_Phantom" / "imagesTr"
    (scored,) = scored_cases(place, "hidden_labels")
    assert scored.name == unlabelled.name


def with_spacing(root: Path, spacings: dict[str, float]) -> None:
    """Give cases another spacing along nnU-Net's first axis; in-plane it is 1 mm."""
    for case, size in spacings.items():
        for folder in ("imagesTr", "labelsTr"):
            for file in (root / "raw" / "Dataset901_Phantom" / folder).glob(f"{case}*"):
                image = nibabel.load(file)
                affine = np.diag([1.0, 1.0, size, 1.0])
                nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), file)


def test_the_spacing_that_keeps_annotated_slices(nnunet, capsys):
    """The slices of one case are thinner than those that nnU-Net would plan: resampling erases the annotated ones."""
    shutil.rmtree(nnunet / "raw" / "Dataset901_Phantom")
    write_phantom_dataset(nnunet / "raw", "Dataset901_Phantom", cases=3, shape=(24, 16, 16))
    with_spacing(nnunet, {"case_000": 1.0, "case_001": 2.0, "case_002": 2.0})
    assert main(["hide_labels", "-d", "901", "-o", "124", "--every_slice", "6"]) == 0
    capsys.readouterr()
    run("-d 124 -o 125 --gap 2")  # fills nothing
    out = capsys.readouterr().out
    assert "WARNING: 1 of 3 cases (first case_000) would lose more than half of what is annotated" in out
    assert "resamples them to 2 1 1 mm" in out
    assert out.endswith("plan_and_preprocess -d 125 -overwrite_target_spacing 1 1 1\n")
    with (nnunet / "raw" / FILLED / "propagated.csv").open() as stream:
        row = next(csv.DictReader(stream))
    assert float(row["share_before"]) > 0.2
    assert float(row["share_before_resampled"]) < 0.1


def test_a_dataset_without_ignored_voxels_stays_as_it_is(nnunet):
    file = nnunet / "raw" / "Dataset901_Phantom" / "dataset.json"
    description = json.loads(file.read_text())
    description["labels"]["ignore"] = 4
    file.write_text(json.dumps(description))
    run("-d 901 -o 125")
    for case in ("case_000", "case_001", "case_002"):
        assert np.array_equal(label(nnunet, FILLED, case), label(nnunet, "Dataset901_Phantom", case))


def test_regions(tmp_path, nnunet):
    shutil.rmtree(nnunet / "raw" / "Dataset901_Phantom")
    write_phantom_dataset(nnunet / "raw", "Dataset901_Phantom", cases=1, shape=(12, 20, 20), regions=True)
    assert main(["hide_labels", "-d", "901", "-o", "124", "--every_slice", "3"]) == 0
    run("-d 124 -o 125 --keep all")
    assert set(np.unique(label(nnunet, FILLED, "case_000"))) == {0, 1, 2, 3}


def test_mistakes(sparse, mistake):
    before = sorted(sparse.rglob("*"))
    found = mistake("propagate_labels -d 901 -o 125 --no_pbar")
    assert "Dataset901_Phantom/dataset.json: expected an ignore label, found none" in found
    assert 'Add "ignore": 4' in found
    assert "expected no folder, found one" in mistake("propagate_labels -d 124 -o 901 --no_pbar")
    assert "found none in 2 cases. Give their axis" in mistake("propagate_labels -d 124 -o 125 --axis 1 --no_pbar")
    for more in ("", " --dry_run"):
        assert "-o 124: expected the number of a new dataset" in mistake(f"propagate_labels -d 124 -o 124{more}")
    file = sparse / "raw" / SPARSE / "labelsTr" / "case_001.nii.gz"
    file.write_bytes(file.read_bytes()[:-20])
    assert f"{file}: expected an intact image" in mistake("propagate_labels -d 124 -o 125 --no_pbar")
    assert sorted(sparse.rglob("*")) == before
    file.unlink()
    assert f"{file}: expected an image, found no file" in mistake("propagate_labels -d 124 -o 125 --no_pbar")


def test_what_a_killed_call_left_is_removed(sparse):
    left = sparse / "raw" / f".{FILLED}.partial"
    left.mkdir()
    (left / "old.txt").touch()
    run("-d 124 -o 125")
    assert not left.exists()
    assert not (sparse / "raw" / FILLED / "old.txt").exists()


def test_the_new_dataset_is_planned_and_preprocessed(sparse):
    run("-d 124 -o 125")
    words = "-d 125 -pl LitePlanner --no_pbar -c 3d_fullres -np 1"
    assert main(["plan_and_preprocess", *words.split()]) == 0
    assert len(list((sparse / "preprocessed" / FILLED / "LitePlans_3d_fullres").glob("*.pkl"))) == 2
