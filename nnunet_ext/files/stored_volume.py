"""An image, mask or label map as it is stored, and label maps with exactly its geometry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from nnunet_ext.files.label_file import write_label_map
from nnunet_ext.files.nifti_header import NIFTI


@dataclass(frozen=True)
class StoredVolume:
    """A file, NIfTI or any format of SimpleITK; nothing is reoriented.

    Args:
        file: Its path.

    Example::

        labels = StoredVolume(Path("predictions/segrap_0000.nii.gz"))
        brain = labels.voxels() < 10
        labels.write_labels(brain.astype(np.uint8), Path("Brain.nii.gz"))
    """

    file: Path

    @property
    def is_nifti(self) -> bool:
        """Whether its name says so."""
        return self.file.name.endswith(NIFTI)

    def voxels(self) -> NDArray[Any]:
        """Read the voxels (D, H, W).

        Raises:
            FileNotFoundError: There is no file.
            Exception: What nibabel or SimpleITK raises about a damaged one.
        """
        if self.is_nifti:
            voxels: NDArray[Any] = np.asanyarray(nibabel.load(self.file).dataobj)
            return voxels.T
        if not self.file.is_file():
            raise FileNotFoundError(self.file)
        return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(self.file))))

    def header(self) -> SimpleITK.ImageFileReader:
        """Return a reader of SimpleITK that has read size, spacing, origin and direction.

        Raises:
            FileNotFoundError: There is no file.
            RuntimeError: SimpleITK cannot read it.
        """
        if not self.file.is_file():
            raise FileNotFoundError(self.file)
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(self.file))
        reader.ReadImageInformation()
        return reader

    def write_labels(self, labels: NDArray[Any], file: Path) -> None:
        """Write a label map, whole or not at all, with this image's geometry.

        Of a NIfTI, sform and qform are taken over as they are stored, digit by digit.

        Args:
            labels: Labels (D, H, W), integers from 0.
            file: Where to; NIfTI if this image is one.
        """
        kind = np.uint8 if labels.max(initial=0) < 256 else np.uint16
        write_label_map(self, labels.astype(kind, copy=False), file, {})

    def write_seg(self, seg: NDArray[Any], output_fname: str, properties: dict[str, Any]) -> None:
        """Write labels (D, H, W) as :class:`nnunet_ext.files.label_file.LabelWriter` does."""
        if self.is_nifti:
            image = nibabel.load(self.file)
            header = image.header.copy()
            header.extensions.clear()
            header.set_data_dtype(seg.dtype)
            header["cal_min"] = header["cal_max"] = 0
            nibabel.save(type(image)(seg.T, None, header), output_fname)
            return
        labels = SimpleITK.GetImageFromArray(seg)
        reader = self.header()
        labels.SetSpacing(reader.GetSpacing())
        labels.SetOrigin(reader.GetOrigin())
        labels.SetDirection(reader.GetDirection())
        SimpleITK.WriteImage(labels, output_fname, True)
