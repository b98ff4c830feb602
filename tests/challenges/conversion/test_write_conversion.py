"""Written datasets: what a second call does, what a killed one leaves, and what is not overwritten."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from challenge_tree import KITS, OBLIQUE, SHAPE, box, kits_majority, kits_tree, segrap_tree, write_volume

from nnunet_ext.challenges.conversion import write_conversion
from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
from nnunet_ext.challenges.conversion.conversion import Conversion
from nnunet_ext.challenges.conversion.kits import read_kits
from nnunet_ext.challenges.conversion.overlapping import read_overlapping
from nnunet_ext.challenges.conversion.segrap import read_segrap_gtv, read_segrap_oar
from nnunet_ext.challenges.conversion.voxel_file import VoxelFile
from nnunet_ext.challenges.conversion.write_conversion import STATE, ConversionWriter
from nnunet_ext.challenges.segrap2023 import ORGANS, TUMORS
from nnunet_ext.errors import UserError

KILLED = """
import os, signal, sys
from pathlib import Path
from nnunet_ext.challenges.conversion import write_conversion, voxel_file
from nnunet_ext.challenges.conversion.segrap import read_segrap_gtv
source, place, name, call = sys.argv[1:]
module = voxel_file.nibabel if name == "save" else write_conversion
count, whole = 0, getattr(module, name)

def killed(*words, **named):
    global count
    count += 1
    if count == int(call):
        if name != "write_json":  # which writes beside and renames
            [Path(word) for word in words if isinstance(word, str | Path)][-1].write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*words, **named)

setattr(module, name, killed)
writer = write_conversion.ConversionWriter(read_segrap_gtv(Path(source)), Path(place), progress=False)
writer.claim()
writer.write()
"""


def written(conversion: Conversion, place: Path, **settings) -> int:
    """Write a dataset and return how many cases were written."""
    writer = ConversionWriter(conversion, place, progress=False, **settings)
    writer.claim()
    return writer.write()[2]


def files(place: Path) -> dict[str, int]:
    return {str(file.relative_to(place)): file.lstat().st_mtime_ns for file in place.rglob("*") if not file.is_dir()}


@pytest.fixture(scope="module")
def sound_tumors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases of SegRap2023's second task, that nobody changes."""
    return segrap_tree(tmp_path_factory.mktemp("source"), tuple(TUMORS), [f"segrap_{n:04d}" for n in range(4)])


@pytest.fixture
def tumors(tmp_path: Path) -> Path:
    """Two cases of SegRap2023's second task."""
    return segrap_tree(tmp_path / "source", tuple(TUMORS))


def test_images_are_links_and_labels_have_their_geometry(tmp_path: Path) -> None:
    source = kits_tree(tmp_path / "source", aggregated=False)
    assert written(read_kits(source, 2021), tmp_path / "D") == 2
    image = tmp_path / "D" / "imagesTr" / "case_00001_0000.nii.gz"
    assert image.readlink() == source / "case_00001" / "imaging.nii.gz"
    label = nibabel.load(tmp_path / "D" / "labelsTr" / "case_00001.nii.gz")
    assert np.array_equal(label.affine, nibabel.load(image).affine)
    assert np.allclose(label.affine, KITS)
    assert np.array_equal(np.asarray(label.dataobj), kits_majority())
    assert (int(label.header["sform_code"]), int(label.header["qform_code"])) == (2, 0)
    assert {path.name for path in (tmp_path / "D").iterdir()} == {"imagesTr", "labelsTr", "dataset.json", STATE}


def test_copies(tmp_path: Path) -> None:
    source = kits_tree(tmp_path / "source")
    place = tmp_path / "D"
    assert written(read_kits(source, 2021), place) == 2
    assert (place / "labelsTr" / "case_00000.nii.gz").is_symlink()
    assert written(read_kits(source, 2021), place, copy=True) == 2
    assert not any(file.is_symlink() for file in place.rglob("*"))
    copy, original = place / "labelsTr" / "case_00000.nii.gz", source / "case_00000" / "aggregated_MAJ_seg.nii.gz"
    assert copy.read_bytes() == original.read_bytes()
    assert written(read_kits(source, 2021), place) == 0


def test_the_labels_give_back_the_masks(tmp_path: Path) -> None:
    """All 45 organs of a case, but for exactly the voxels that the report names."""
    source = segrap_tree(tmp_path / "source", tuple(ORGANS))
    writer = ConversionWriter(read_segrap_oar(source), tmp_path / "D", progress=False)
    writer.claim()
    _, records, _ = writer.write()
    record = ChallengeRecord.of(json.loads((tmp_path / "D" / "dataset.json").read_text()))
    assert json.loads((tmp_path / "D" / STATE).read_text())["cases"] == records
    lost, gained = 0, 0
    for case, found in records.items():
        labels = np.asarray(nibabel.load(tmp_path / "D" / "labelsTr" / f"{case}.nii.gz").dataobj).T
        for name, back in record.masks(labels):
            mask = VoxelFile(source / case / f"{name}.nii.gz").mask()
            assert (mask & ~back).sum() == found["lost"].get(name, 0)
            assert (back & ~mask).sum() == found["gained"].get(name, 0)
            assert mask.sum() == found["voxels"][name]
            lost, gained = lost + (mask & ~back).sum(), gained + (back & ~mask).sum()
    assert lost > 0
    assert gained > 0


def test_a_second_call_writes_what_is_missing_or_changed(tmp_path: Path, tumors: Path) -> None:
    place = tmp_path / "D"
    assert written(read_segrap_gtv(tumors), place) == 2
    before = files(place)
    assert written(read_segrap_gtv(tumors), place) == 0
    assert files(place) == before
    (place / "labelsTr" / "segrap_0001.nii.gz").unlink()
    assert written(read_segrap_gtv(tumors), place) == 1
    (place / "imagesTr" / "segrap_0000_0001.nii.gz").unlink()
    assert written(read_segrap_gtv(tumors), place) == 1
    mask = box(SHAPE, (0, 9), (0, 7), (0, 5))
    write_volume(tumors / "segrap_0000" / "GTVnd.nii.gz", mask, OBLIQUE)
    assert written(read_segrap_gtv(tumors), place) == 1
    assert nibabel.load(place / "labelsTr" / "segrap_0000.nii.gz").get_fdata().min() == 1
    segrap_tree(tumors, tuple(TUMORS), ["segrap_0002"])
    assert written(read_segrap_gtv(tumors), place) == 1
    assert json.loads((place / "dataset.json").read_text())["numTraining"] == 3


@pytest.mark.parametrize(("name", "call"), [("save", 2), ("link", 4), ("write_json", 3)])
def test_a_killed_call_is_continued(tmp_path: Path, sound_tumors: Path, name: str, call: int) -> None:
    """Killed in the second of four cases: while it writes the label, an image, the note that the case is done."""
    place = tmp_path / "D"
    words = [sys.executable, "-c", KILLED, str(sound_tumors), str(place), name, str(call)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (place / "dataset.json").exists()
    assert written(read_segrap_gtv(sound_tumors), place) == 3
    expected = tmp_path / "E"
    assert written(read_segrap_gtv(sound_tumors), expected) == 4
    assert sorted(files(place)) == sorted(files(expected))
    for file in files(place):
        assert (place / file).read_bytes() == (expected / file).read_bytes()


def test_processes_write_the_same(tmp_path: Path, tumors: Path) -> None:
    written(read_segrap_gtv(tumors), tmp_path / "D")
    assert written(read_segrap_gtv(tumors), tmp_path / "E", processes=2) == 2
    for file in files(tmp_path / "D"):
        assert (tmp_path / "D" / file).read_bytes() == (tmp_path / "E" / file).read_bytes() or file == STATE


def test_overlaps_are_counted_once(tmp_path: Path, tumors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conversion = read_overlapping(tumors, ["image.nii.gz", "image_contrast.nii.gz"])
    assert written(conversion, tmp_path / "D") == 2
    first = json.loads((tmp_path / "D" / "dataset.json").read_text())
    assert set(first["challenge"]["structures"]) == set(TUMORS)
    assert not any(each["lost"] for each in json.loads((tmp_path / "D" / STATE).read_text())["cases"].values())
    monkeypatch.setattr(write_conversion, "count_combinations", None)
    assert written(conversion, tmp_path / "D") == 0
    monkeypatch.undo()
    both = box(SHAPE, (0, 9), (0, 7), (0, 5))
    for name in TUMORS:
        write_volume(tumors / "segrap_0001" / f"{name}.nii.gz", both, OBLIQUE)
    assert written(conversion, tmp_path / "D") == 2  # there is another label now
    second = json.loads((tmp_path / "D" / "dataset.json").read_text())
    assert "GTVp-GTVnd" in second["labels"] or "GTVnd-GTVp" in second["labels"]


def test_what_is_not_overwritten(tmp_path: Path, tumors: Path) -> None:
    place = tmp_path / "D"
    (place / "imagesTr").mkdir(parents=True)
    with pytest.raises(UserError, match=r"found another dataset \(imagesTr\)\. Choose another number"):
        written(read_segrap_gtv(tumors), place)
    (place / "imagesTr").rmdir()
    written(read_segrap_gtv(tumors), place)
    with pytest.raises(
        UserError, match="expected segrap2023_gtv, channels contrast, normalization ct as requested now"
    ):
        written(read_segrap_gtv(tumors, ("contrast",)), place)
    fewer = read_segrap_gtv(tumors)
    with pytest.raises(UserError, match="expected the cases that were converted before, found no segrap_0001 in the"):
        written(replace(fewer, cases=fewer.cases[:1]), place)


def test_grids_are_checked_before_anything_is_written(tmp_path: Path, tumors: Path) -> None:
    write_volume(tumors / "segrap_0001" / "GTVp.nii.gz", box(SHAPE, (0, 2), (0, 2), (0, 2)), KITS)
    with pytest.raises(UserError, match=r"segrap_0001/GTVp\.nii\.gz: expected the grid of image\.nii\.gz"):
        written(read_segrap_gtv(tumors), tmp_path / "D")
    assert [file.name for file in (tmp_path / "D").iterdir()] == [STATE]
    source = kits_tree(tmp_path / "kits")
    write_volume(source / "case_00001" / "aggregated_MAJ_seg.nii.gz", kits_majority()[::-1], KITS[:, [0, 2, 1, 3]])
    with pytest.raises(UserError, match=r"case_00001/aggregated_MAJ_seg\.nii\.gz: expected the grid of imaging"):
        written(read_kits(source, 2021), tmp_path / "K")


def test_an_incomplete_dataset_has_no_dataset_json(tmp_path: Path, tumors: Path) -> None:
    place = tmp_path / "D"
    written(read_segrap_gtv(tumors), place)
    mask = tumors / "segrap_0001" / "GTVp.nii.gz"
    whole = mask.read_bytes()
    write_volume(mask, np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), OBLIQUE)
    with pytest.raises(UserError, match="expected a mask with one value"):
        written(read_segrap_gtv(tumors), place)
    assert not (place / "dataset.json").exists()
    mask.write_bytes(whole)
    assert written(read_segrap_gtv(tumors), place) == 1
    assert (place / "dataset.json").is_file()


@pytest.mark.parametrize(("shape", "found"), [(SHAPE, "found another origin"), ((4, 4, 4), "found 9 x 7 x 5 voxels")])
def test_an_image_that_changed_after_its_masks_were_counted(
    tmp_path: Path, tumors: Path, shape: tuple[int, ...], found: str
) -> None:
    images = ["image.nii.gz", "image_contrast.nii.gz"]
    assert written(read_overlapping(tumors, images), tmp_path / "D") == 2
    moved = OBLIQUE.copy()
    moved[:3, 3] += 5
    for image in images:
        write_volume(tumors / "segrap_0001" / image, np.zeros(shape, np.int16), moved, codes=(1, 1))
    with pytest.raises(UserError, match=rf"segrap_0001/GTV.*: expected the grid of image\.nii\.gz, {found}"):
        written(read_overlapping(tumors, images), tmp_path / "D")


def test_other_options_before_a_case_is_converted(
    tmp_path: Path, tumors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks are counted once, although the first choice of --min_voxels leaves no labels."""
    images = ["image.nii.gz", "image_contrast.nii.gz"]
    with pytest.raises(UserError, match="choose another --min_voxels"):
        written(read_overlapping(tumors, images, min_voxels=10**6), tmp_path / "D")
    monkeypatch.setattr(write_conversion, "count_combinations", None)
    assert written(read_overlapping(tumors, images), tmp_path / "D") == 2
    with pytest.raises(UserError, match=r"min_voxels 2 as requested now, found it written with .* min_voxels 1"):
        written(read_overlapping(tumors, images, min_voxels=2), tmp_path / "D")


@pytest.mark.parametrize("text", ["{}", '{"challenge": "segrap2023_gtv", "options": {}}'])
def test_somebody_elses_file_of_that_name(tmp_path: Path, tumors: Path, text: str) -> None:
    (tmp_path / "D").mkdir()
    (tmp_path / "D" / STATE).write_text(text)
    with pytest.raises(UserError, match=r"found another dataset \(conversion\.json\)"):
        written(read_segrap_gtv(tumors), tmp_path / "D")
    assert (tmp_path / "D" / STATE).read_text() == text


def test_links_follow_a_source_that_was_copied_elsewhere(tmp_path: Path, tumors: Path) -> None:
    """Even if the copies have the same sizes and times, and the first source is still there."""
    written(read_segrap_gtv(tumors), tmp_path / "D")
    other = shutil.copytree(tumors, tmp_path / "other")
    assert written(read_segrap_gtv(other), tmp_path / "D") == 2
    link = tmp_path / "D" / "imagesTr" / "segrap_0001_0000.nii.gz"
    assert link.readlink() == other / "segrap_0001" / "image.nii.gz"
