"""The recipes hold nothing that plans or commands do not know."""

from __future__ import annotations

from itertools import pairwise

import pytest

from nnunet_ext import sockets
from nnunet_ext.base.knobs import resolve
from nnunet_ext.challenges.recipes import OF_CONFIGURATION, RECIPES, Recipe, recipe
from nnunet_ext.cli.main import COMMANDS
from nnunet_ext.errors import UserError

ALL = [(name, each) for name, teams in RECIPES.items() for each in teams]


@pytest.mark.parametrize(("name", "chosen"), ALL, ids=[f"{name}-{each.team}" for name, each in ALL])
def test_knobs_are_legal_and_commands_exist(name: str, chosen: Recipe) -> None:
    resolved = resolve({"nnunet_ext": chosen.knobs, "configurations": {"3d_fullres": {}}}, "3d_fullres")
    assert {knob: resolved[knob] for knob in chosen.knobs} == chosen.knobs
    assert set(chosen.configuration) <= set(OF_CONFIGURATION)
    for setting in chosen.settings:
        words = setting.command.split()
        for command, following in pairwise(words):
            assert command != "nnunet_ext" or following.strip(";,") in COMMANDS, setting
            assert following.strip(";,") != "train" or command == "nnunet_ext", setting
            if command == "-pl":
                assert f"-p {sockets.load('planners', following.strip(';,')).default_plans_name}" in setting.command, (
                    setting
                )
            if command == "-p" and "nnunet_ext train" in setting.command:  # plans with knobs, or with our planner
                trainer = words[words.index("-tr") + 1] if "-tr" in words else "nnUNetTrainer"
                assert trainer in sockets.names("trainers"), setting
        assert setting.source
    names = [setting.name for setting in chosen.settings]
    assert len(set(names)) == len(names)


def test_teams() -> None:
    assert recipe("segrap2023_gtv").team == "astarakee"
    assert recipe("segrap2023_gtv", "uniseg").configuration == {"patch_size": [64, 192, 192], "batch_size": 2}
    with pytest.raises(UserError, match=r"--team: kits21 has no team 'winer'\. Did you mean 'winner'"):
        recipe("kits21", "winer")
