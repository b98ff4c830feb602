"""Images and label maps as nnU-Net's readers read and write them."""

from __future__ import annotations

import importlib.util
import logging
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from nnunet_ext.data.image_file import check_finite, check_whole
from nnunet_ext.errors import UserError, one_line

logger = logging.getLogger(__name__)
FLAT = 999  # times the largest spacing of a 2d image: nnU-Net's distance of its only slice from others
# what SimpleITK, nibabel and scikit-image raise at a damaged file; for a broken PNG it is a SyntaxError
REFUSALS = (RuntimeError, OSError, EOFError, ValueError, TypeError, KeyError, AssertionError, SyntaxError, zlib.error)
PNG = (b"\x89PNG\r\n\x1a\n", 24, 25)  # what a file begins with; places of bits per value and of colour type


class ImageIO(Protocol):
    """Reads the files of a case, and writes its label map."""

    def read(self, files: Sequence[Path]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Return the image (C, D, H, W), and its ``spacing`` (D, H, W) in mm and what else its label map needs."""

    def write_seg(self, seg: NDArray[Any], output_fname: str, properties: dict[str, Any]) -> None:
        """Write labels (D, H, W) with the geometry that the reader noted in ``properties``."""


def read_case(reader: ImageIO, files: Sequence[Path], channels: int) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Read a case, and refuse what is damaged or does not fit the model.

    Args:
        reader: The model's.
        files: One for each channel, in order.
        channels: Of the model.

    Raises:
        UserError: A file is missing, damaged, of another form or has NaN or infinite voxels, or there is another number
            of channels.
    """
    for file in files:
        check_whole(file)
    try:
        image, properties = reader.read(files)
    except UserError:  # of which RuntimeError is a base
        raise
    except REFUSALS as error:
        raise UserError(
            f"{files[0]}: expected an image that {type(reader).__name__} reads, got {type(error).__name__}: "
            f"{one_line(error, last=True)}. Replace or convert it."
        ) from error
    if len(image) != channels:
        raise UserError(
            f"{files[0]}: expected {channels} channel{'s' * (channels > 1)}, as the model was trained with, found "
            f"{len(image)}. Give one file for each channel, in order."
        )
    for channel, array in enumerate(image):
        check_finite(files[channel if len(files) == channels else 0], array)
    return image, properties


class SimpleITKIO:
    """Reads with SimpleITK, like nnU-Net's class of this name.

    Args:
        orientation: Reorient images to this, such as ``"RAS"``, and label maps back; None: leave them.
    """

    def __init__(self, orientation: str | None = None) -> None:
        self._orientation = orientation

    def read(self, files: Sequence[Path]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Read one image for each channel, or one with the channels as its fourth axis.

        Raises:
            UserError: The files differ in shape or spacing, or have other than two to four axes.
        """
        arrays: list[NDArray[Any]] = []
        found: list[dict[str, Any]] = []
        for file in files:
            image = SimpleITK.ReadImage(str(file))
            oriented = None
            if self._orientation is not None:
                oriented = SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())
                image = SimpleITK.DICOMOrient(image, self._orientation)
            array = SimpleITK.GetArrayFromImage(image)
            if not 2 <= array.ndim <= 4:
                raise UserError(f"{file}: expected two to four axes, found {array.ndim}. Split it.")
            spacing = [abs(step) for step in image.GetSpacing()[::-1]]
            if array.ndim == 2:
                spacing, array = [max(spacing) * FLAT, *spacing], array[None]
            arrays.append(array if array.ndim == 4 else array[None])
            geometry = {"spacing": image.GetSpacing(), "origin": image.GetOrigin(), "direction": image.GetDirection()}
            found.append({"spacing": spacing[-3:], "geometry": geometry, "oriented": oriented})
        check_alike(files, arrays, [each["spacing"] for each in found])
        for name in ("origin", "direction"):
            _warn_of_places(files, name, [each["geometry"][name] for each in found])
        return np.vstack(arrays, dtype=np.float32, casting="unsafe"), found[0]

    def write_seg(self, seg: NDArray[Any], output_fname: str, properties: dict[str, Any]) -> None:
        """Write labels (D, H, W) in the image's geometry, compressed."""
        geometry = properties["geometry"]
        flat = len(geometry["spacing"]) == 2
        image = SimpleITK.GetImageFromArray(as_small(seg[0] if flat else seg))
        image.SetSpacing(geometry["spacing"])
        image.SetOrigin(geometry["origin"])
        image.SetDirection(geometry["direction"])
        if properties["oriented"] is not None:
            image = SimpleITK.DICOMOrient(image, properties["oriented"])
        SimpleITK.WriteImage(image, output_fname, True)


class NibabelIO:
    """Reads NIfTI with nibabel, like nnU-Net's class of this name.

    Args:
        reorient: To RAS, and label maps back.
    """

    def __init__(self, reorient: bool = False) -> None:
        self._reorient = reorient

    def read(self, files: Sequence[Path]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Read one image for each channel.

        Raises:
            UserError: The files differ in shape or spacing, or have other than three axes.
        """
        import nibabel

        arrays, found = [], []
        for file in files:
            image = nibabel.load(file)
            if image.ndim != 3:
                raise UserError(f"{file}: expected three axes, found {image.ndim}. Split it.")
            original = image.affine
            if self._reorient:
                image = image.as_reoriented(nibabel.io_orientation(original))
            arrays.append(image.get_fdata().transpose(2, 1, 0)[None])
            spacing = [float(step) for step in image.header.get_zooms()[::-1]]
            found.append({"spacing": spacing, "affine": image.affine, "original": original})
        check_alike(files, arrays, [each["spacing"] for each in found])
        _warn_of_places(files, "affine", [each["affine"] for each in found])
        return np.vstack(arrays, dtype=np.float32, casting="unsafe"), found[0]

    def write_seg(self, seg: NDArray[Any], output_fname: str, properties: dict[str, Any]) -> None:
        """Write labels (D, H, W) in the image's geometry."""
        import nibabel
        from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

        image = nibabel.Nifti1Image(as_small(seg).transpose(2, 1, 0), properties["affine"])
        if self._reorient:
            back = ornt_transform(axcodes2ornt("RAS"), io_orientation(properties["original"]))
            image = image.as_reoriented(back)
        nibabel.save(image, output_fname)


class NaturalImage2DIO:
    """Reads photographs and micrographs (PNG, BMP, TIFF) with the values of nnU-Net's class.

    Without scikit-image, with which nnU-Net reads them, only PNG files of which SimpleITK returns the same values.
    """

    def read(self, files: Sequence[Path]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Read grey or colour images; colours are channels.

        Raises:
            UserError: The files differ in shape, are no 2d images, or need scikit-image, which is not installed.
        """
        arrays = []
        for file in files:
            array = _photograph(file)
            if array.ndim != 2 and not (array.ndim == 3 and array.shape[-1] in (3, 4)):
                raise UserError(f"{file}: expected a 2d image, grey, RGB or RGBA, found {array.shape}. Convert it.")
            arrays.append(array[None, None] if array.ndim == 2 else np.moveaxis(array, -1, 0)[:, None])
        spacing = [float(FLAT), 1.0, 1.0]
        check_alike(files, arrays, [spacing] * len(arrays))
        return np.vstack(arrays, dtype=np.float32, casting="unsafe"), {"spacing": spacing}

    def write_seg(self, seg: NDArray[Any], output_fname: str, properties: dict[str, Any]) -> None:
        """Write labels (1, H, W) as grey values."""
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(as_small(seg[0])), output_fname)


READERS: dict[str, Callable[[], ImageIO]] = {
    "SimpleITKIO": SimpleITKIO,
    "SimpleITKIOWithReorient": lambda: SimpleITKIO("RAS"),
    "NibabelIO": NibabelIO,
    "NibabelIOWithReorient": lambda: NibabelIO(reorient=True),
    "NaturalImage2DIO": NaturalImage2DIO,
}


def as_small(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels as uint8 if they fit, else as uint16."""
    return labels.astype(np.uint8 if labels.max() < 255 else np.uint16, copy=False)


def check_alike(files: Sequence[Path], arrays: Sequence[NDArray[Any]], spacings: Sequence[list[float]]) -> None:
    """Refuse channels that differ in shape or, by more than rounding, in spacing.

    Raises:
        UserError: They do.
    """
    for file, array, spacing in zip(files, arrays, spacings, strict=True):
        if array.shape != arrays[0].shape or not np.allclose(spacing, spacings[0]):
            raise UserError(
                f"{file}: expected shape and spacing of {files[0].name}, {arrays[0].shape[1:]} and {spacings[0]}, "
                f"found {array.shape[1:]} and {spacing}. Resample it to that image."
            )


def _warn_of_places(files: Sequence[Path], name: str, places: Sequence[Any]) -> None:
    """Say that channels lie in different places, as nnU-Net does: they are predicted voxel by voxel."""
    for file, place in zip(files, places, strict=True):
        if not np.allclose(place, places[0]):
            logger.warning(
                "%s: another %s than that of %s. Voxels of the same index are taken for the same place; if they are "
                "not, resample it to that image",
                *(file, name, files[0].name),
            )


def _photograph(file: Path) -> NDArray[Any]:
    """Return the values (H, W) or (H, W, colours)."""
    if importlib.util.find_spec("skimage") is not None:
        from skimage.io import imread
        from tifffile import TiffFileError

        try:
            return np.asarray(imread(file))
        except (TiffFileError, IndexError, struct.error) as error:  # of a damaged .tif
            raise ValueError(one_line(error)) from error
    with file.open("rb") as stream:
        start = stream.read(PNG[2] + 1)
    bits, colour = (start[PNG[1]], start[PNG[2]]) if start.startswith(PNG[0]) and len(start) > PNG[2] else (0, 0)
    if file.suffix.lower() != ".png" or bits == 1 or (bits == 16 and colour > 0):
        kind = f"PNG with {bits} bit{'s' * (bits > 1)} for each value" if bits else f"{file.suffix} file"
        raise UserError(
            f"{file}: expected the package scikit-image, with which nnU-Net reads a {kind}, found none. Run pip "
            f"install scikit-image, or convert all images to PNG with 8 bits."
        )
    return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file))))
