"""Structures of label maps as files: one 4d image as SimpleITK joins it, or a mask each; whole or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from challenge_tree import KITS, OBLIQUE, SHAPE, segrap_tree, write_volume

from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
from nnunet_ext.challenges.conversion.overlapping import read_overlapping
from nnunet_ext.challenges.conversion.segrap import read_segrap_oar
from nnunet_ext.challenges.conversion.voxel_file import VoxelFile
from nnunet_ext.challenges.conversion.write_conversion import ConversionWriter
from nnunet_ext.challenges.segrap2023 import ORGANS
from nnunet_ext.challenges.structure_files import write_structure_files, write_structure_image, write_structures
from nnunet_ext.errors import UserError

RECORD = ChallengeRecord("segrap2023_oar", ORGANS, {}, ("CT",))
SMALL = ChallengeRecord("overlapping", {"liver": (1, 2), "vein": (2, 3)}, {}, ("CT",))
PLACES = ("GetSize", "GetSpacing", "GetOrigin", "GetDirection", "GetPixelID", "GetNumberOfComponentsPerPixel")
KILLED = """
import os, signal, sys
from pathlib import Path
from nnunet_ext.challenges import structure_files
from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord

class Killing(ChallengeRecord):
    def masks(self, labels, where):
        masks = super().masks(labels, where)
        yield next(masks)
        os.kill(os.getpid(), signal.SIGKILL)

record = Killing("overlapping", {"liver": (1, 2), "vein": (2, 3)}, {}, ("CT",))
getattr(structure_files, sys.argv[1])(*map(Path, sys.argv[2:]), record)
"""


def label_map(folder: Path, name: str = "a.nii.gz", affine: np.ndarray = OBLIQUE, most: int = 3) -> Path:
    """Write random labels (X, Y, Z)."""
    labels = np.random.default_rng(0).integers(0, most + 1, SHAPE).astype(np.uint8)
    nifti = write_volume(folder / "made" / "a.nii.gz", labels, affine, codes=(1, 1))
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(nifti)), str(folder / name), True)  # as nnU-Net's writer
    return folder / name


def joined(file: Path, record: ChallengeRecord) -> SimpleITK.Image:
    """What the challenge's baseline makes, with the label map's geometry."""
    whole = SimpleITK.ReadImage(str(file))
    labels, images = SimpleITK.GetArrayFromImage(whole), []
    for own in record.structures.values():
        images.append(SimpleITK.GetImageFromArray(np.isin(labels, own).astype(np.uint8), isVector=False))
        images[-1].CopyInformation(whole)
    return SimpleITK.JoinSeries(images)


@pytest.mark.parametrize("name", ["a.mha", "a.nii.gz", "a.nrrd"])
@pytest.mark.parametrize("affine", [OBLIQUE, KITS])
def test_the_image_is_what_simpleitk_joins(tmp_path: Path, name: str, affine: np.ndarray) -> None:
    file = label_map(tmp_path, name, affine, most=54)
    write_structure_image(file, tmp_path / "out" / "b.mha", RECORD)
    found, expected = SimpleITK.ReadImage(str(tmp_path / "out" / "b.mha")), joined(file, RECORD)
    assert found.GetSize() == (*SHAPE, 45)
    assert found.GetSpacing()[3] == 1
    for place in PLACES:
        assert getattr(found, place)() == getattr(expected, place)(), place
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(found), SimpleITK.GetArrayFromImage(expected))
    assert os.listdir(tmp_path / "out") == ["b.mha"]
    SimpleITK.WriteImage(expected, str(tmp_path / "theirs.mha"), True)
    header = (tmp_path / "out" / "b.mha").read_bytes().partition(b"LOCAL\n")
    assert b"CompressedDataSize = %d " % len(header[2]) in header[0]
    names = [line.split(b" =")[0] for line in header[0].splitlines()]
    theirs = (tmp_path / "theirs.mha").read_bytes().partition(b"LOCAL\n")[0].splitlines()
    assert names == [line.split(b" =")[0] for line in theirs if not line.startswith(b"AnatomicalOrientation")]


@pytest.mark.parametrize("name", ["a.mha", "a.nii.gz", "a.b.nrrd"])
@pytest.mark.parametrize("affine", [OBLIQUE, KITS])
def test_a_file_for_each(tmp_path: Path, name: str, affine: np.ndarray) -> None:
    file = label_map(tmp_path, name, affine)
    files = write_structure_files(file, tmp_path / "out" / "a", SMALL)
    ending = ".nii.gz" if name.endswith("gz") else file.suffix
    assert files == [tmp_path / "out" / "a" / f"{structure}{ending}" for structure in ("liver", "vein")]
    assert sorted(os.listdir(tmp_path / "out" / "a")) == [each.name for each in files]
    whole = SimpleITK.ReadImage(str(file))
    for each, own in zip(files, SMALL.structures.values(), strict=True):
        mask = SimpleITK.ReadImage(str(each))
        for place in PLACES:
            assert getattr(mask, place)() == getattr(whole, place)(), place
        labels = SimpleITK.GetArrayFromImage(whole)
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(mask), np.isin(labels, own))
        if ending == ".nii.gz":
            assert np.array_equal(nibabel.load(each).affine, nibabel.load(file).affine)


@pytest.mark.parametrize(
    ("read", "structures", "exact"),
    [(read_segrap_oar, tuple(ORGANS), False), (read_overlapping, tuple("abcdefghijkl"), True)],
)
def test_masks_come_back_but_for_the_voxels_of_the_report(tmp_path: Path, read, structures, exact) -> None:
    """Masks to labels and back, by files and by the image."""
    source = segrap_tree(tmp_path / "source", structures)
    if exact:
        for case in ("segrap_0000", "segrap_0001"):
            (source / case / "image_contrast.nii.gz").unlink()
    writer = ConversionWriter(read(source), tmp_path / "D", progress=False)
    writer.claim()
    conversion, records, _ = writer.write()
    overlapping, changed = 0, 0
    for case, found in records.items():
        labels = tmp_path / "D" / "labelsTr" / f"{case}.nii.gz"
        files = write_structure_files(labels, tmp_path / "out" / case, conversion.record)
        write_structure_image(labels, tmp_path / "out" / f"{case}.mha", conversion.record)
        image = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out" / f"{case}.mha")))
        for place, (name, file) in enumerate(zip(conversion.record.structures, files, strict=True)):
            back, mask = VoxelFile(file).mask(), VoxelFile(source / case / f"{name}.nii.gz").mask()
            assert (mask & ~back).sum() == found["lost"].get(name, 0)
            assert (back & ~mask).sum() == found["gained"].get(name, 0)
            assert np.array_equal(image[place], back)
            changed += (mask ^ back).sum()
            original = nibabel.load(source / case / "image.nii.gz")
            assert np.array_equal(nibabel.load(file).affine, original.affine)
        overlapping += (image.sum(0) > 1).sum()
    assert overlapping > 0
    assert (changed == 0) == exact


@pytest.mark.parametrize(("write", "target"), [("write_structure_image", "b.mha"), ("write_structure_files", "b")])
def test_killed_while_writing(tmp_path: Path, write: str, target: str) -> None:
    """What was there before is unchanged, the rest is not there, and the next call clears up."""
    file = label_map(tmp_path)
    words = [sys.executable, "-c", KILLED, write, str(file), str(tmp_path / "out" / target)]
    (tmp_path / "out").mkdir()
    if target == "b.mha":
        (tmp_path / "out" / target).write_bytes(b"before")
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    if target == "b.mha":
        write_structure_image(file, tmp_path / "out" / target, SMALL)
        assert os.listdir(tmp_path / "out") == ["b.mha"]
        return
    (whole,) = (tmp_path / "out" / "b").glob("[!.]*")
    assert whole.name == "liver.nii.gz"
    VoxelFile(whole).mask()
    write_structure_files(file, tmp_path / "out" / "b", SMALL)
    assert sorted(os.listdir(tmp_path / "out" / "b")) == ["liver.nii.gz", "vein.nii.gz"]


def test_what_was_there_stays_until_the_image_is_whole(tmp_path: Path) -> None:
    file, target = label_map(tmp_path, most=9), tmp_path / "b.mha"
    target.write_bytes(b"before")
    with pytest.raises(UserError, match=r"a\.nii\.gz: expected labels of overlapping, 0 to 3, found 4"):
        write_structure_image(file, target, SMALL)
    assert target.read_bytes() == b"before"
    with pytest.raises(UserError, match=r"a\.nii\.gz: expected labels of overlapping, 0 to 3, found 4"):
        write_structure_files(file, tmp_path / "b", SMALL)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("write", [write_structure_image, write_structure_files])
def test_what_cannot_be_read(tmp_path: Path, write) -> None:
    target = tmp_path / "out" / "b.mha"
    with pytest.raises(UserError, match=r"a\.nii\.gz: expected a label map, found no file"):
        write(tmp_path / "a.nii.gz", target, SMALL)
    with pytest.raises(UserError, match=r"a\.mha: expected a label map, found no file"):
        write(tmp_path / "a.mha", target, SMALL)
    file = label_map(tmp_path)
    file.write_bytes(file.read_bytes()[:-30])  # SimpleITK would read zeros
    with pytest.raises(UserError, match=r"a\.nii\.gz: expected an intact image"):
        write(file, target, SMALL)
    assert not (tmp_path / "out").exists()


def test_axes_that_are_not_perpendicular(tmp_path: Path) -> None:
    """nibabel reads them, an image of ITK cannot have them."""
    sheared = np.eye(4)
    sheared[0, 1] = 0.4
    file = write_volume(tmp_path / "a.nii.gz", np.ones(SHAPE, np.uint8), sheared)
    with pytest.raises(UserError, match=r"a\.nii\.gz: expected .*orthonormal"):
        write_structure_image(file, tmp_path / "b.mha", SMALL)
    files = write_structure_files(file, tmp_path / "b", SMALL)
    assert np.array_equal(nibabel.load(files[0]).affine, nibabel.load(file).affine)


@pytest.mark.parametrize("name", ["../liver", "a/b", "a\\b", ".liver", "c:liver"])
def test_names_that_would_write_elsewhere(tmp_path: Path, name: str) -> None:
    record = ChallengeRecord("overlapping", {name: (1,)}, {}, ("CT",))
    with pytest.raises(UserError, match="expected structures whose names can be those of files, found "):
        write_structure_files(label_map(tmp_path), tmp_path / "out" / "a", record)
    assert not (tmp_path / "out").exists()


def test_another_ending(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"b\.nii\.gz: expected a name that ends in \.mha"):
        write_structure_image(label_map(tmp_path), tmp_path / "b.nii.gz", SMALL)


@pytest.mark.parametrize("form", ["files", "image"])
def test_what_is_newer_than_its_label_map_is_kept(tmp_path: Path, form) -> None:
    maps = {"a": label_map(tmp_path, "a.mha"), "b": label_map(tmp_path, "b.mha")}
    place = tmp_path / "out"

    def write(**options) -> int:
        return write_structures(maps, place, SMALL, form, show_progress=False, **options)

    assert write(overwrite=False) == 2
    written = sorted(str(file.relative_to(place)) for file in place.rglob("*.mha"))
    images, masks = ["a.mha", "b.mha"], ["a/liver.mha", "a/vein.mha", "b/liver.mha", "b/vein.mha"]
    assert written == (images if form == "image" else masks)
    assert (write(overwrite=False), write()) == (0, 2)
    os.utime(maps["b"], ns=(time := maps["b"].stat().st_mtime_ns + 10**12, time))
    assert write(overwrite=False) == 1
    (place / written[-1]).unlink()
    os.utime(maps["b"], (0, 0))
    assert write(overwrite=False) == 1
