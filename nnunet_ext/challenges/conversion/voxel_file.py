"""An image or mask as its file says: grid from the header alone, binary voxels, and label maps with its geometry."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from nnunet_ext.data.image_file import broken
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.files.stored_volume import StoredVolume
from nnunet_ext.quality.grid import Grid

REFUSALS = (RuntimeError, OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI counts towards right and front


@dataclass(frozen=True)
class VoxelFile(StoredVolume):
    """A 3d image, NIfTI or any format of SimpleITK.

    Args:
        file: Its path.

    Example::

        image = VoxelFile(Path("segrap_0000/image.nii.gz"))
        mask = VoxelFile(Path("segrap_0000/Brain.nii.gz"))
        mask.check_grid(image)
        brain = mask.mask()  # (D, H, W) bool
        image.write_labels(brain.astype(np.uint8), Path("labelsTr/segrap_0000.nii.gz"))
    """

    def grid(self) -> Grid:
        """Read shape (D, H, W), spacing in mm and place from the header.

        Raises:
            UserError: There is no file, it is damaged, or has other than three axes.
        """
        try:
            shape, affine = self._nifti_place() if self.is_nifti else self._place()
        except FileNotFoundError as error:
            raise UserError(f"{self.file}: expected an image, found no file. Add it.") from error
        except REFUSALS as error:
            raise broken(self.file, one_line(error, last=True)) from error
        if len(shape) != 3:
            raise UserError(f"{self.file}: expected an image with three axes, found {len(shape)}. Split it.")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
        return Grid.of(shape[::-1], {"spacing": spacing, "nibabel_stuff": {"original_affine": affine}}, str(self.file))

    def check_grid(self, image: VoxelFile) -> None:
        """Refuse a file that does not lie on the grid of its image.

        Raises:
            UserError: Its shape, voxel size, origin or direction is another.
        """
        difference = self.grid().difference(image.grid())
        if difference is not None:
            raise UserError(
                f"{self.file}: expected the grid of {image.file.name}, found {difference}. Get the original file "
                f"again, or resample it onto that image."
            )

    def mask(self) -> NDArray[np.bool_]:
        """Read a binary mask (D, H, W); whatever its one value is, such as 1 or 255.

        Raises:
            UserError: It is damaged or holds more than one value beside 0.
        """
        try:
            array = self.voxels()
        except REFUSALS as error:
            raise broken(self.file, one_line(error, last=True)) from error
        inside: NDArray[np.bool_] = array != 0
        values = array[inside]
        if values.size and values.min() != values.max():  # NaN is not equal to itself either
            found = ", ".join(f"{value:g}" for value in np.unique(values)[:5])
            raise UserError(
                f"{self.file}: expected a mask with one value beside 0, found {found}. Save each structure as a mask "
                f"of its own."
            )
        return inside

    def _nifti_place(self) -> tuple[tuple[int, ...], NDArray[np.float64]]:
        """Shape (X, Y, Z) and the map from voxels to mm towards right, front and head."""
        image = nibabel.load(self.file)
        return image.shape, np.asarray(image.affine, float)

    def _place(self) -> tuple[tuple[int, ...], NDArray[np.float64]]:
        reader = self.header()
        axes = reader.GetDimension()
        affine = np.eye(4)
        if axes == 3:
            affine[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
            affine[:3, 3] = reader.GetOrigin()
        return reader.GetSize(), LPS @ affine
