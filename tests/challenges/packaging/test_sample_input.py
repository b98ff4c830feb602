"""The synthetic input, as the entry point finds it."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK as sitk

from nnunet_ext.challenges.container.inputs import find_cases
from nnunet_ext.challenges.container.interface import INTERFACES
from nnunet_ext.challenges.packaging.sample_input import write_sample_input


@pytest.mark.parametrize("name", INTERFACES)
def test_it_is_found(tmp_path: Path, name: str) -> None:
    interface = INTERFACES[name]
    write_sample_input(tmp_path, interface)
    (case,) = find_cases(tmp_path, interface)
    images = [sitk.ReadImage(str(file)) for file in case.images]
    assert len(images) == len(interface.inputs)
    assert {image.GetPixelID() for image in images} == {sitk.sitkInt16}
    assert images[0].GetDirection() != (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert (tmp_path / "inputs.json").is_file() == (name != "kipa22")
