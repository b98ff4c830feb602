"""container.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnunet_ext.challenges.container.interface import INTERFACES
from nnunet_ext.challenges.container.settings import ContainerSettings
from nnunet_ext.errors import UserError


def test_written_and_read(tmp_path: Path) -> None:
    file = tmp_path / "container.json"
    settings = ContainerSettings(INTERFACES["segrap2023_oar"], ("0", "all"), step_size=0.75, time_budget=60.0)
    file.write_text(json.dumps(settings.as_json()))
    assert ContainerSettings.read(file) == settings


@pytest.mark.parametrize("change", [{"speed": 1}, {"folds": None}])
def test_another_form(tmp_path: Path, change: dict[str, object]) -> None:
    file = tmp_path / "container.json"
    file.write_text(json.dumps(ContainerSettings(INTERFACES["kits21"], ("0",)).as_json() | change))
    with pytest.raises(UserError, match="expected the settings of a container"):
        ContainerSettings.read(file)
