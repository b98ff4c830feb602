"""The nnU-Net reader that does the work, and what the user is told when it refuses a file."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from contextlib import redirect_stderr
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, ImageDataError
from numpy.typing import NDArray

from nnunet_ext.data.companion_files import spacing_file
from nnunet_ext.data.image_file import broken, check_whole, forbidden
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.files.nifti_header import NIFTI

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

FORM = ("only 3d images", "number of dimensions", "image has three dimensions")
OF_NIBABEL = (ImageFileError, HeaderDataError, ImageDataError, zlib.error)
# a broken PNG is a SyntaxError
REFUSALS = (RuntimeError, OSError, EOFError, ValueError, TypeError, KeyError, AssertionError, SyntaxError, *OF_NIBABEL)
SPLIT = "Split it into one file for each channel, named _0000, _0001 ..., each with one value in a voxel."
ONE = "A label has one channel: save it again with the number of the class as the only value of a voxel."


def find_reader(description: Mapping[str, Any], example: Path) -> BaseReaderWriter:
    """Return the reader that planning will write into the plans.

    Args:
        description: dataset.json, which may name it.
        example: The first image of the first training case: nnU-Net tries its readers on it.

    Raises:
        UserError: None of its readers accepts the image.
    """
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

    check_whole(example)
    try:
        with redirect_stderr(io.StringIO()):  # nnU-Net prints a traceback for each reader that fails
            return determine_reader_writer_from_dataset_json(dict(description), str(example), verbose=False)()
    except RuntimeError as error:
        raise UserError(
            f"{example}: expected an image that nnU-Net can read (.nii.gz, .nrrd, .mha, .png, .tif), got one "
            f"that none of its readers takes. Replace or convert it."
        ) from error


def planned_reader(plans: Mapping[str, Any]) -> BaseReaderWriter:
    """Return the reader that preprocessing, prediction and evaluation use: the one in the plans.

    Raises:
        UserError: The plans name a reader that nnU-Net does not have.
    """
    from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name

    name = plans.get("image_reader_writer")
    try:
        return recursive_find_reader_writer_by_name(str(name))()
    except RuntimeError as error:
        raise UserError(
            f"plans {plans.get('plans_name')!r}: expected 'image_reader_writer' to be a reader of nnU-Net, got {name!r}"
            f". Plan again."
        ) from error


def read_image(reader: BaseReaderWriter, file: Path, *, label: bool = False) -> tuple[NDArray, dict]:
    """Read one file, whole, as (C, Z, Y, X), with the reader's properties.

    Raises:
        UserError: It is damaged, the reader rejects it, or nnU-Net reads it but cannot write its prediction.
    """
    from tifffile import TiffFileError

    check_whole(file)
    try:
        array, properties = reader.read_seg(str(file)) if label else reader.read_images([str(file)])
    except PermissionError as error:
        raise forbidden(file, error) from error
    except (*REFUSALS, TiffFileError) as error:
        raise _refused(file, reader, error, label=label) from error
    _check_form(file, array, properties, label=label)
    return array, properties


def _refused(file: Path, reader: BaseReaderWriter, error: Exception, *, label: bool) -> UserError:
    """Say why a reader rejects a file; every reader words it differently."""
    name, text, reason = type(reader).__name__, str(error).lower(), one_line(error, last=True)
    beside = spacing_file(file, label=label)
    of_beside = "spacing" in text or isinstance(error, TypeError | JSONDecodeError)
    if beside is not None and beside.is_file() and of_beside:
        return UserError(
            f'{beside}: expected {{"spacing": [Z, Y, X]}} in mm for {file.name}, got something else ({reason}). '
            f"Correct it."
        )
    if "orthonormal" in text:
        return UserError(
            f"{file}: expected axes perpendicular to each other, which nnU-Net's {name} needs, got sheared ones. "
            f'Resample it, or plan all with "overwrite_image_reader_writer": "NibabelIO" in dataset.json.'
        )
    if any(words in text for words in FORM):
        return UserError(
            f"{file}: expected an image of the form that nnU-Net's {name} reads, got another ({reason}). {SPLIT}"
        )
    if file.name.endswith(NIFTI):  # it is intact
        return UserError(
            f"{file}: expected an image that nnU-Net's {name} reads, got one that it refuses ({reason}). Save it "
            f'again, or plan with another reader ("overwrite_image_reader_writer" in dataset.json).'
        )
    return broken(file, reason)


def _check_form(file: Path, array: NDArray, properties: dict, *, label: bool) -> None:
    """Refuse further axes, which nnU-Net reads as channels and cannot write, and labels with several channels."""
    kind, remedy = ("a label", ONE) if label else ("an image", SPLIT)
    channels = len(array)
    axes = len(properties["sitk_stuff"]["spacing"]) if "sitk_stuff" in properties else None
    if axes is not None and axes > 3:
        if channels == 1:
            remedy = "Save it with three: nnU-Net cannot write a prediction with more."
        raise UserError(
            f"{file}: expected {kind} with at most three axes, found {axes}, the fourth of length {channels}. {remedy}"
        )
    values = array.shape[-1] if len(properties["spacing"]) < 3 else 1  # nnU-Net read the values as an axis
    if label and values == 1:
        values = channels
    if values > 1:
        raise UserError(f"{file}: expected {kind} with one value in each voxel, found {values}. {remedy}")
