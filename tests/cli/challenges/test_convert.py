"""``nnunet_ext convert``: datasets that nnU-Net plans, what is printed, numbers, folds, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from challenge_tree import kits_tree, paired_tree, segrap_tree
from lock_holder import lock_holder

from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
from nnunet_ext.challenges.conversion.write_conversion import STATE
from nnunet_ext.challenges.segrap2023 import ORGANS, TUMORS
from nnunet_ext.cli.main import main
from nnunet_ext.data.dataset_json import read_dataset_json
from nnunet_ext.labels.raters.preprocessing import preprocessed_raters
from nnunet_ext.stock import folders


def convert(words: str) -> None:
    assert main(["convert", *words.split(), "--no_pbar"]) == 0


def planned(root: Path, number: int, name: str) -> dict:
    """Check all cases, let nnU-Net check the dataset too, fingerprint and plan; return the plans."""
    words = f"-d {number} -pl LitePlanner --verify_dataset_integrity --no_pp --no_pbar -npfp 1"
    assert main(["plan_and_preprocess", *words.split()]) == 0
    return json.loads((root / "preprocessed" / f"Dataset{number:03d}_{name}" / "LitePlans.json").read_text())


def test_kits_is_planned(nnunet, tmp_path, capsys):
    kits_tree(tmp_path / "kits", range(3), aggregated=False)
    convert(f"kits21 {tmp_path / 'kits'} -d 21")
    place = nnunet / "raw" / "Dataset021_KiTS2021"
    assert capsys.readouterr().out == (
        f"{place / 'dataset.json'}: 3 cases, 3 written now, 3 regions\n"
        f"Note: the challenge has 300 training cases, the source 3.\n"
        f"Note: labels of 3 cases are the majority of annotators: 3 instances with 1 annotation, 6 with 3.\n"
        f"Next: nnunet_ext plan_and_preprocess -d 21\n"
    )
    plans = planned(nnunet, 21, "KiTS2021")
    assert plans["image_reader_writer"] == "SimpleITKIOWithReorient"
    assert np.allclose(plans["original_median_spacing_after_transp"], (2.5, 0.8, 0.8))
    assert plans["original_median_shape_after_transp"] == [6, 12, 10]
    assert plans["configurations"]["2d"]["normalization_schemes"] == ["CTNormalization"]
    assert ChallengeRecord.of(read_dataset_json(place / "dataset.json")).name == "kits21"
    description = nnunet / "preprocessed" / place.name / "dataset.json"
    assert ChallengeRecord.of(json.loads(description.read_text())).values == {"kidney": 1, "tumor": 2, "cyst": 3}


def test_kits_with_raters_is_preprocessed(nnunet, mistake, tmp_path):
    source = kits_tree(tmp_path / "kits", range(2))
    convert(f"kits21 {source} -d 21 --raters 2")
    place = nnunet / "raw" / "Dataset021_KiTS2021"
    for sample in ("sample_01", "sample_02"):
        files = sorted(file.name for file in (place / "labelsTr_raters" / sample).iterdir())
        assert files == ["case_00000.nii.gz", "case_00001.nii.gz"]
    words = "plan_and_preprocess -d 21 -c 3d_fullres -npfp 1 -np 1 --no_pbar"
    assert main(words.split()) == 0
    planned = nnunet / "preprocessed" / place.name
    plans = json.loads((planned / "nnUNetPlans.json").read_text())
    assert preprocessed_raters(planned, plans, "3d_fullres") == ("sample_01", "sample_02")
    changed = place / "labelsTr_raters" / "sample_01" / "case_00000.nii.gz"
    changed.unlink()
    convert(f"kits21 {source} -d 21 --raters 2")
    assert changed.is_file()
    assert "expected kits21, raters 3 as requested now" in mistake(f"convert kits21 {source} -d 21 --raters 3")


def test_segrap_is_planned(nnunet, tmp_path, capsys):
    segrap_tree(tmp_path / "s", tuple(ORGANS))
    convert(f"segrap2023_oar {tmp_path / 's'} -d 23 -n OAR --normalization zscore")
    shown = capsys.readouterr().out
    assert "2 cases, 2 written now, 54 labels for 45 structures\n" in shown
    state = json.loads((nnunet / "raw" / "Dataset023_OAR" / STATE).read_text())
    lost = sum(case["lost"].get("Brain", 0) for case in state["cases"].values())
    assert lost > 0
    (row,) = [line.split("|") for line in shown.splitlines() if line.startswith("| Brain ")]
    assert int(row[3]) == lost
    plans = planned(nnunet, 23, "OAR")
    assert plans["configurations"]["2d"]["normalization_schemes"] == ["ZScoreNormalization"] * 2
    convert(f"segrap2023_oar {tmp_path / 's'} -d 23 -n OAR --normalization zscore")
    assert "2 cases, 0 written now" in capsys.readouterr().out


def test_tumors_have_folds_where_nnunet_looks(nnunet, tmp_path, capsys, monkeypatch):
    names = [f"segrap_000{patient}{part}" for patient in range(5) for part in ("", "_b")]
    segrap_tree(tmp_path / "s", tuple(TUMORS), names)
    for name in names:
        (tmp_path / "s" / name / "image_contrast.nii.gz").unlink()
    words = f"segrap2023_gtv {tmp_path / 's'} -d 24 --channels non_contrast non_contrast"
    convert(words)
    plans = planned(nnunet, 24, "SegRap2023_GTV")
    assert plans["configurations"]["2d"]["normalization_schemes"] == ["CTNormalization"]
    file = nnunet / "preprocessed" / "Dataset024_SegRap2023_GTV" / "splits_final.json"
    folds = json.loads(file.read_text())
    assert sorted(case for fold in folds for case in fold["val"]) == names
    assert all({f"{case[:11]}_b" for case in fold["val"]} <= {*fold["val"]} for fold in folds)
    own = [{"train": names[1:], "val": names[:1]}]
    file.write_text(json.dumps(own))
    capsys.readouterr()
    convert(words)
    assert f"Note: {file} has other folds than " in capsys.readouterr().out
    assert json.loads(file.read_text()) == own
    monkeypatch.delenv("nnUNet_preprocessed")
    convert(words.replace("-d 24", "-d 25"))
    assert "Note: nnUNet_preprocessed names no folder." in capsys.readouterr().out


def test_label_maps_are_planned(nnunet, tmp_path, capsys):
    paired_tree(tmp_path / "train", "image/{}.nii.gz", "label/{}.nii.gz", ["0", "1"], 4)
    convert(f"kipa22 {tmp_path} -d 22")
    assert "Note: intensities of KiPA22 are probably not in HU" in capsys.readouterr().out
    plans = planned(nnunet, 22, "KiPA2022")
    assert plans["configurations"]["2d"]["normalization_schemes"] == ["ZScoreNormalization"]


def test_test_images(nnunet, tmp_path):
    paired_tree(tmp_path / "Training", "img/img{}.nii.gz", "label/label{}.nii.gz", ["0001", "0002"], 13)
    paired_tree(tmp_path / "Testing", "img/img{}.nii.gz", "other/{}.nii.gz", ["0061"], 1)
    convert(f"btcv {tmp_path} -d 26 --copy")
    place = nnunet / "raw" / "Dataset026_BTCV"
    assert (place / "imagesTs" / "btcv_0061_0000.nii.gz").is_file()
    assert not (place / "imagesTs" / "btcv_0061_0000.nii.gz").is_symlink()
    assert not (place / "labelsTs").exists()
    planned(nnunet, 26, "BTCV")


def test_overlapping_masks(nnunet, tmp_path, capsys):
    segrap_tree(tmp_path / "masks", ("Eye", "Lens", "Nerve"))
    for case in ("segrap_0000", "segrap_0001"):
        (tmp_path / "masks" / case / "image_contrast.nii.gz").unlink()
    convert(f"overlapping {tmp_path / 'masks'} -d 27 --channel_names CT")
    place = nnunet / "raw" / "Dataset027_masks"
    description = json.loads((place / "dataset.json").read_text())
    assert set(description["challenge"]["structures"]) == {"Eye", "Lens", "Nerve"}
    assert f"{len(description['labels']) - 1} labels for 3 structures" in capsys.readouterr().out
    planned(nnunet, 27, "masks")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("kits21 {0} -d 901", "Dataset901_KiTS2021: expected a free number, Dataset901_Phantom has it too. Choose"),
        ("kits21 {0} -d 901 -n Phantom", "expected no folder, or one that this command has written, found another"),
        ("kits21 {0} -d 30 -n a__b", "expected a dataset named like Dataset003_Liver"),
        ("kits21 {0}/case_00000 -d 30", "expected folders named case_00000, case_00001, ... in it or in data"),
        ("kits21 {0}/none -d 30", "SOURCE: expected a folder, found none at "),
        ("kits22 {0} -d 30", "invalid choice: 'kits22'"),
        ("kits21 {0} -d 0", "expected a number from 1 to 999"),
        ("segrap2023_oar {0} -d 30 --channels pet", "invalid choice: 'pet'"),
        ("", "required: CHALLENGE"),
    ],
)
def test_mistakes_write_nothing(nnunet, tmp_path, mistake, words, text):
    kits_tree(tmp_path / "kits", [0])
    before = sorted(nnunet.rglob("*"))
    assert text in mistake(f"convert {words.format(tmp_path / 'kits')}")
    assert sorted(nnunet.rglob("*")) == before


def test_the_number_is_taken_before_the_work(nnunet, tmp_path, mistake):
    """A case that cannot be converted leaves the dataset to be continued, and its number taken."""
    source = kits_tree(tmp_path / "kits", [0, 1], aggregated=False)
    image = source / "case_00001" / "segmentations" / "kidney_instance-1_annotation-2.nii.gz"
    whole = image.read_bytes()
    image.write_bytes(whole[:-40])
    assert "annotation-2.nii.gz: expected an intact image" in mistake(f"convert kits21 {source} -d 30 --no_pbar")
    assert "expected a free number, Dataset030_KiTS2021 has it too" in mistake(f"convert kits23 {source} -d 30")
    image.write_bytes(whole)
    convert(f"kits21 {source} -d 30")
    assert len(list((nnunet / "raw" / "Dataset030_KiTS2021" / "labelsTr").iterdir())) == 2


def test_nobody_else_takes_the_number_or_writes_there(nnunet, tmp_path, mistake, monkeypatch):
    source = kits_tree(tmp_path / "kits", [0])
    monkeypatch.setattr(folders, "NUMBERS_WAIT", 0.0)
    with lock_holder(nnunet / "raw") as process:
        assert f"found training, process {process.pid}" in mistake(f"convert kits21 {source} -d 30")
    assert not (nnunet / "raw" / "Dataset030_KiTS2021").exists()
    (nnunet / "raw" / "Dataset030_KiTS2021").mkdir()  # of a killed call
    with lock_holder(nnunet / "raw" / "Dataset030_KiTS2021") as process:
        assert f"found training, process {process.pid}" in mistake(f"convert kits21 {source} -d 30")
    convert(f"kits21 {source} -d 30")
