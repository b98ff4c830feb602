"""Wrong labels: each fault moves or renames what was there."""

import nibabel
import numpy as np

from nnunet_ext.phantoms.dataset import write_phantom_dataset
from nnunet_ext.phantoms.wrong_labels import SHIFT, write_wrong_labels


def labels(dataset):
    return [np.asarray(nibabel.load(file).dataobj) for file in sorted((dataset / "labelsTr").glob("*.nii.gz"))]


def test_faults(tmp_path):
    dataset = write_phantom_dataset(tmp_path, "Dataset999_Phantom", cases=4, shape=(12, 24, 24))
    before = labels(dataset)
    said = write_wrong_labels(dataset)
    mirrored, shifted, swapped, right = labels(dataset)
    assert list(said) == ["case_000", "case_001", "case_002"]
    assert (mirrored == before[0][::-1]).all()
    assert not (mirrored == before[0]).all()
    assert (shifted[:, SHIFT:] == before[1][:, :-SHIFT]).all()
    assert not shifted[:, :SHIFT].any()
    assert ((swapped == 1) == (before[2] == 2)).all()
    assert ((swapped == 2) == (before[2] == 1)).all()
    assert (swapped != before[2]).any()
    assert (right == before[3]).all()
