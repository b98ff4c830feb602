"""Reading a manifest together with its members."""

from __future__ import annotations

from pathlib import Path

from nnunet_ext.collection.annotated_classes import check_fully_annotated
from nnunet_ext.collection.manifest import Manifest, ManifestTask, check_dataset_name, parse_manifest
from nnunet_ext.data.dataset_json import is_collection, part_record
from nnunet_ext.data.image_file import check_whole, nifti_shape
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError, nearest
from nnunet_ext.files.json_file import read_json
from nnunet_ext.files.nifti_header import NIFTI

FEWEST_CASES = 2  # one to train on and one to validate on


def read_manifest(folder: Path) -> Manifest:
    """Read and check a collection's manifest and what it says about its members.

    Args:
        folder: The collection's folder in nnUNet_raw; members lie beside it.

    Raises:
        UserError: The first mistake.
    """
    file = folder / "dataset.json"
    if not file.is_file():
        raise UserError(f"{file}: expected the manifest of a collection, found no file. Write it: nnunet_ext collect.")
    manifest = parse_manifest(read_json(file, unique=True), file)
    check_members(manifest, folder)
    return manifest


def check_members(manifest: Manifest, folder: Path) -> None:
    """Check each member's folder beside the collection's.

    Raises:
        UserError: A member is missing, is a collection, is not 3D, has too few cases, or lacks what its task names.
    """
    file = folder / "dataset.json"
    for task in manifest.tasks:
        place = f"{file}: task {task.name!r}"
        dataset = find_member(folder.parent, task.dataset, place)
        check_trainable(dataset, place)
        check_fully_annotated(dataset, place)
        if task.normalization is not None:
            check_channels(task.normalization, dataset, place)
        _check_labels(task, dataset, folder.parent, place)


def find_member(raw: Path, name: str, place: str) -> RawDataset:
    """Return a dataset that may be a member.

    Raises:
        UserError: There is none of this name, or it is a collection.
    """
    if not (raw / name).is_dir():
        present = [path.name for path in raw.glob("Dataset[0-9][0-9][0-9]_*") if path.is_dir()]
        raise UserError(f"{place}: unknown dataset {name!r}. {nearest(name, present)}")
    file = raw / name / "dataset.json"
    check_dataset_name(name, file)
    if file.is_file():
        description = read_json(file)
        if isinstance(description, dict) and is_collection(description):
            raise UserError(
                f"{place}: expected an ordinary dataset, found the collection {name!r}. Name its members instead."
            )
    return RawDataset.read(raw / name)


def root_source(raw: Path, name: str) -> str | None:
    """Return the dataset that a part was taken from, and if that is a part too, the one behind it; else None.

    Args:
        raw: The folder nnUNet_raw.
        name: The dataset.
    """
    found, seen = None, {name}
    while True:
        record = part_record(read_json(raw / name / "dataset.json"))
        name = record["dataset"] if record is not None else name
        if name in seen:
            return found
        seen.add(name)
        found = name


def check_trainable(dataset: RawDataset, place: str) -> None:
    """Refuse a dataset that a collection cannot train on.

    Raises:
        UserError: It has too few cases, is 2D, or has labels that nnU-Net does not accept.
    """
    dataset.legal_labels()
    cases = dataset.cases()
    if len(cases) < FEWEST_CASES:
        raise UserError(
            f"{place}: expected a member of at least {FEWEST_CASES} cases (one trains, one validates), found "
            f"{len(cases)} in {dataset.folder.name}. Add cases or leave it out."
        )
    if slices(cases[0].images[0]) == 1:
        raise UserError(
            f"{place}: expected 3D images (a collection has the one configuration 3d_fullres), found a single slice in "
            f"{cases[0].images[0]}. Leave {dataset.folder.name} out."
        )


def check_channels(normalization: tuple[str, ...], dataset: RawDataset, place: str) -> None:
    """Refuse normalizations if there is not one for each of the member's channels.

    Raises:
        UserError: The numbers differ.
    """
    channels = len(dataset.channel_names)
    if len(normalization) != channels:
        raise UserError(
            f"{place}: 'normalization': expected one for each of {channels} channels of {dataset.folder.name}, got "
            f"{len(normalization)}. Correct the list."
        )


def slices(image: Path) -> int:
    """Return an image's size along nnU-Net's first axis, from the header alone.

    Raises:
        UserError: It cannot be read.
    """
    # SimpleITK refuses sheared NIfTI, which nnU-Net's nibabel readers take
    size = nifti_shape(image) if image.name.endswith(NIFTI) else _size(image)
    return size[2] if len(size) > 2 else 1


def _size(image: Path) -> tuple[int, ...]:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(image))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        check_whole(image)  # it may be missing or unreadable
        raise UserError(f"{image}: expected an image, found none that can be read. Replace or convert it.") from error
    return reader.GetSize()


def _check_labels(task: ManifestTask, dataset: RawDataset, raw: Path, place: str) -> None:
    """Refuse a part's labels that its source lacks under the old names, or the part under the new ones."""
    if task.source is None:
        return
    source = find_member(raw, task.source, f"{place}: 'source'")
    for old, new in task.labels:
        for name, where in ((old, source), (new, dataset)):
            legal = where.description["labels"]
            if name not in legal:
                raise UserError(f"{place}: unknown label {name!r} of {where.folder.name}. {nearest(name, legal)}")
