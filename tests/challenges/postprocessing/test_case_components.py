"""Volumes of components, and what the largest one touches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written_map import write_map

from nnunet_ext.challenges.case_masks import LabelMap
from nnunet_ext.challenges.kits21 import kits21
from nnunet_ext.challenges.matched_cases import MatchedCase
from nnunet_ext.challenges.postprocessing.case_components import CaseComponents, read_label_map
from nnunet_ext.challenges.segrap2023 import segrap2023
from nnunet_ext.data.image_reader import find_reader
from nnunet_ext.errors import UserError
from nnunet_ext.quality.grid import Grid


def test_volumes_and_contact() -> None:
    values = np.zeros((3, 3, 12), np.uint8)
    values[1, 1, :12] = [1, 1, 2, 2, 0, 2, 0, 0, 0, 3, 0, 1]
    found = CaseComponents.of(LabelMap(values, Grid(values.shape, (2.0, 1.0, 0.5))), kits21().structures)
    assert found.volumes == {"kidney_and_mass": (4, 1, 1, 1), "mass": (2, 1, 1), "tumor": (2, 1)}
    assert found.contact == {"kidney_and_mass": {}, "mass": {"kidney_and_mass": 1}, "tumor": {"kidney_and_mass": 1}}


def test_folders_of_masks_are_refused(tmp_path: Path) -> None:
    file = write_map(tmp_path / "segrap_0000" / "GTVp.nii.gz", np.zeros((2, 2, 2), np.uint8))
    case = MatchedCase("segrap_0000", tmp_path / "segrap_0000", tmp_path)
    with pytest.raises(UserError, match="segrap_0000: expected a label map, found a folder of masks"):
        read_label_map(case, segrap2023("gtv"), find_reader({"file_ending": ".nii.gz"}, file))
