"""Images as the model's reader can read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import SimpleITK as sitk

from nnunet_ext.data.image_file import broken
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.prediction.trained_model import TrainedModel


def reads(model: TrainedModel, ending: str) -> bool:
    """Whether the reader of the model's plans reads files of this ending."""
    return ending in model.plans_manager.image_reader_writer_class.supported_file_endings


def readable_images(images: Sequence[Path], model: TrainedModel, folder: Path) -> list[Path]:
    """Return files that the model's reader reads: the images, or copies with the ending of the model's images.

    Voxels, their type and the map from voxels to the world are those of the image, as far as the other format holds
    them (NIfTI keeps the map in single precision).

    Args:
        images: One for each channel.
        model: The model.
        folder: For the copies.

    Raises:
        UserError: An image is damaged, or has other than three axes.
    """
    readable = []
    for number, file in enumerate(images):
        image = read_header(file)
        if image.GetDimension() != 3 or image.GetNumberOfComponents() != 1:
            raise UserError(
                f"{file}: expected an image with three axes and one value in each voxel, found {image.GetDimension()} "
                f"axes and {image.GetNumberOfComponents()} values. Check what the platform hands over."
            )
        if any(str(file).endswith(ending) and reads(model, ending) for ending in (".mha", ".nii.gz")):
            readable.append(file)
            continue
        copy = folder / f"image_{number:04d}{model.file_ending}"
        try:
            sitk.WriteImage(sitk.ReadImage(str(file)), str(copy))
        except RuntimeError as error:
            raise broken(file, one_line(error, last=True)) from error
        readable.append(copy)
    return readable


def read_header(file: Path) -> sitk.ImageFileReader:
    """Return what SimpleITK reads of an image without its voxels.

    Raises:
        UserError: It is damaged.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise broken(file, one_line(error, last=True)) from error
    return reader
