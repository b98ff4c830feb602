"""Files as they are stored; their geometry is tested with that of converted data (``test_voxel_file.py``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from challenge_tree import KITS, KITS_SHAPE, ct, write_volume

from nnunet_ext.files.stored_volume import StoredVolume


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha"])
def test_voxels_as_simpleitk_has_them(tmp_path: Path, name: str) -> None:
    nifti = write_volume(tmp_path / "made.nii.gz", ct(KITS_SHAPE), KITS)
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(nifti)), str(tmp_path / name))
    stored = StoredVolume(tmp_path / name)
    assert stored.is_nifti == (name != "a.mha")
    np.testing.assert_array_equal(stored.voxels(), ct(KITS_SHAPE).T)
    assert stored.header().GetSize() == KITS_SHAPE


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha"])
def test_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        StoredVolume(tmp_path / name).voxels()
    with pytest.raises(FileNotFoundError):
        StoredVolume(tmp_path / name).header()
