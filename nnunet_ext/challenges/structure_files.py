"""Label maps as the files that challenges take of structures that overlap: one image of all, or a file for each.

Only the label map and one or two masks are in memory at a time, however many structures there are.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from tqdm import tqdm

from nnunet_ext.data.image_file import broken
from nnunet_ext.data.image_reader import REFUSALS
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.files.json_file import whole_file
from nnunet_ext.files.nifti_header import NIFTI
from nnunet_ext.files.stored_volume import StoredVolume

if TYPE_CHECKING:
    from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord

Form = Literal["files", "image"]
IMAGE = ".mha"
LEVEL = 1  # of zlib: masks are mostly 0, and get small at any level
SIZE = 20  # digits that are kept free for the number of compressed bytes, known at the end


def write_structures(
    label_files: Mapping[str, Path],
    folder: Path,
    record: ChallengeRecord,
    form: Form,
    *,
    overwrite: bool = True,
    show_progress: bool = True,
) -> int:
    """Write the structures of several label maps.

    Args:
        label_files: The label map of each case.
        folder: Gets ``CASE.mha`` or ``CASE/STRUCTURE.nii.gz``; made if it is not there.
        record: Of the dataset.json that the label maps were made with.
        form: ``files``, by :func:`write_structure_files`, or ``image``, by :func:`write_structure_image`.
        overwrite: Write those again that are there already and not older than their label map.
        show_progress: Show a progress bar.

    Returns:
        The number of cases that were written.

    Raises:
        UserError: A label map is damaged or holds a label of no structure, or a file cannot be written.
    """
    todo = {
        case: file
        for case, file in label_files.items()
        if overwrite or not _is_done(file, _files(file, folder / case, record, form))
    }
    for case, file in tqdm(todo.items(), "structures", unit="case", disable=not show_progress):
        if form == "image":
            write_structure_image(file, folder / f"{case}{IMAGE}", record)
        else:
            write_structure_files(file, folder / case, record)
    return len(todo)


def write_structure_image(label_file: Path, file: Path, record: ChallengeRecord) -> None:
    """Write all structures of a label map as one image, as Grand Challenge takes them.

    It has one axis more than the label map: ITK size (X, Y, Z, structures), uint8, 0 and 1, compressed. The last axis
    has spacing 1; spacing, origin and direction of the others are those of the label map.

    Args:
        label_file: A label map that nnU-Net wrote, NIfTI or another format of SimpleITK.
        file: The image, ``.mha``; whole or not there at all. Its folder is made.
        record: Of the dataset.json that the label map was made with; its order is that of the image.

    Raises:
        UserError: The label map is damaged or holds a label of no structure, or the image cannot be written or is the
            label map's file.

    Example:
        >>> from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
        >>> record = ChallengeRecord.of(model.dataset_json)  # doctest: +SKIP
        >>> write_structure_image(Path("labels/a.nii.gz"), Path("output/a.mha"), record)  # doctest: +SKIP
    """
    if not file.name.endswith(IMAGE):
        raise UserError(f"{file}: expected a name that ends in {IMAGE}. Rename it.")
    if file.exists() and file.samefile(label_file):
        raise UserError(
            f"{file}: expected another file than the label map, which would be lost. Choose another folder."
        )
    labels = _labels(label_file)
    try:
        place = StoredVolume(label_file).header()
    except REFUSALS as error:
        raise broken(label_file, one_line(error, last=True)) from error
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as partial, partial.open("wb") as stream:
        stream.write(_header(place, len(record.structures), 0))
        start = stream.tell()
        packed = zlib.compressobj(LEVEL)
        for _, mask in record.masks(labels, str(label_file)):
            stream.write(packed.compress(np.ascontiguousarray(mask).data))
        stream.write(packed.flush())
        size = stream.tell() - start
        stream.seek(0)
        stream.write(_header(place, len(record.structures), size))


def write_structure_files(label_file: Path, folder: Path, record: ChallengeRecord) -> list[Path]:
    """Write each structure of a label map as a file of its own, such as ``Brain.nii.gz``.

    Args:
        label_file: A label map that nnU-Net wrote, NIfTI or another format of SimpleITK.
        folder: Gets the files, with the label map's ending and exactly its geometry; uint8, 0 and 1. Each file is
            whole or not there at all. The folder is made.
        record: Of the dataset.json that the label map was made with.

    Returns:
        The files, in the record's order.

    Raises:
        UserError: The label map is damaged or holds a label of no structure, or a structure's name cannot be that of a
            file.
        OSError: A file cannot be written.
    """
    files = _files(label_file, folder, record, "files")
    labels = _labels(label_file)
    folder.mkdir(parents=True, exist_ok=True)
    for file, (_, mask) in zip(files, record.masks(labels, str(label_file)), strict=True):
        StoredVolume(label_file).write_labels(mask.view(np.uint8), file)
    return files


def _files(label_file: Path, place: Path, record: ChallengeRecord, form: Form) -> list[Path]:
    """What becomes of a label map, given the path of its case without an ending."""
    if form == "image":
        return [place.with_name(f"{place.name}{IMAGE}")]
    for name in record.structures:
        if name.startswith(".") or any(sign in name for sign in '/\\:\0'):  # fmt: skip
            raise UserError(
                f"{label_file}: expected structures whose names can be those of files, found {name!r}. Rename it in "
                f"the key 'challenge' of dataset.json."
            )
    ending = next((each for each in NIFTI if label_file.name.endswith(each)), label_file.suffix)
    return [place / f"{name}{ending}" for name in record.structures]


def _is_done(label_file: Path, files: Iterable[Path]) -> bool:
    written = label_file.stat().st_mtime_ns
    return all(file.is_file() and file.stat().st_mtime_ns >= written for file in files)


def _labels(file: Path) -> NDArray[Any]:
    try:
        return StoredVolume(file).voxels()
    except FileNotFoundError as error:
        raise UserError(f"{file}: expected a label map, found no file. Correct the path.") from error
    except REFUSALS as error:
        raise broken(file, one_line(error, last=True)) from error


def _header(place: SimpleITK.ImageFileReader, structures: int, size: int) -> bytes:
    """The header of MetaImage, which ITK reads; its length does not depend on the number of compressed bytes."""
    axes = place.GetDimension() + 1
    direction = np.eye(axes)
    direction[:-1, :-1] = np.reshape(place.GetDirection(), (axes - 1, axes - 1))
    fields = {
        "ObjectType": "Image",
        "NDims": axes,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": True,
        "CompressedDataSize": f"{size:<{SIZE}}",
        "TransformMatrix": _numbers(direction.T.ravel().tolist()),  # an axis after another
        "Offset": _numbers([*place.GetOrigin(), 0.0]),
        "CenterOfRotation": _numbers([0.0] * axes),
        "ElementSpacing": _numbers([*place.GetSpacing(), 1.0]),
        "DimSize": " ".join(map(str, (*place.GetSize(), structures))),
        "ElementType": "MET_UCHAR",
        "ElementDataFile": "LOCAL",  # right after the header
    }
    return "".join(f"{name} = {value}\n" for name, value in fields.items()).encode()


def _numbers(values: Iterable[float]) -> str:
    """Each with as many digits as it takes to read the same number."""
    return " ".join(map(repr, values))
