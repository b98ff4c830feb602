"""Plans of nnU-Net v1: where they are found, what they say of the preprocessing, and what v2 cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from v1_model import unet_weights, v1_plans, write_pickle, write_v1

from nnunet_ext.errors import UserError
from nnunet_ext.import_v1.v1_checkpoint import V1Checkpoint
from nnunet_ext.import_v1.v1_plans import V1Plans


def found(folder: Path, plans: Any, given: Path | None = None) -> V1Plans:
    """Write a model with these plans, and read them."""
    file = write_v1(folder, unet_weights(), None)
    write_pickle(folder / "plans.pkl", plans)
    read = V1Plans.find(V1Checkpoint.read(file), given)
    assert read is not None
    return read


def test_the_users_file_comes_first_then_the_checkpoints_then_the_folders(tmp_path: Path) -> None:
    file = write_v1(tmp_path, unet_weights(), None)
    assert V1Plans.find(V1Checkpoint.read(file), None) is None
    places = {
        tmp_path / "plans.pkl": v1_plans(),
        file.with_name("plans.pkl"): v1_plans(),
        file.with_name(f"{file.name}.pkl"): {"plans": v1_plans(), "name": "nnUNetTrainerV2"},
    }
    for place, content in places.items():
        write_pickle(place, content)
        read = V1Plans.find(V1Checkpoint.read(file), None)
        assert read is not None
        assert read.file == place
    mine = write_pickle(tmp_path / "mine.pkl", {"plans": v1_plans()})
    read = V1Plans.find(V1Checkpoint.read(file), mine)
    assert read is not None
    assert read.file == mine


def test_preprocessing(tmp_path: Path) -> None:
    mask = {0: False, 1: True, 2: False}
    plans = v1_plans(schemes=("CT", "T1", "noNorm"), use_mask_for_norm=mask)
    made = found(tmp_path, plans).preprocessing()
    assert made.schemes == ["CTNormalization", "ZScoreNormalization", "NoNormalization"]
    assert made.masks == [False, True, False]
    assert made.intensities["0"]["std"] == 50
    assert made.intensities["1"] == made.intensities["2"] == {}
    assert made.described == ("CT clipped to [-100, 300], then (x - 80) / 50; ZScore inside the nonzero region; No")
    assert type(made.intensities["0"]["mean"]) is float


def test_older_plans_name_the_normalization_only_by_the_modality(tmp_path: Path) -> None:
    plans = v1_plans(schemes=("CT", "T1"))
    del plans["normalization_schemes"], plans["use_mask_for_norm"], plans["transpose_forward"]
    made = found(tmp_path, plans).preprocessing()
    assert (made.schemes, made.masks) == (["CTNormalization", "ZScoreNormalization"], [False, False])
    assert made.transpose_forward == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"normalization_schemes": {0: "CT2"}}, "found 'CT2' for channel 0"),
        ({"use_mask_for_norm": {0: True}}, "found 'CT' inside a mask for channel 0"),
        ({"dataset_properties": {"intensityproperties": None}}, "which CT images are normalized with, found none"),
        ({"dataset_properties": {"intensityproperties": {0: {"mean": 1.0}}}}, "normalized with, found mean. Give"),
    ],
)
def test_what_v2_cannot_do_is_refused(tmp_path: Path, change: dict[str, Any], line: str) -> None:
    plans = found(tmp_path, v1_plans() | change)
    with pytest.raises(UserError, match=line):
        plans.preprocessing()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ([1, 2], "plans.pkl: expected plans of nnU-Net v1, found list. Give v1's plans.pkl."),
        ({"a": 1}, "expected plans of nnU-Net v1 with 'plans_per_stage', found a. Give"),
        (v1_plans() | {"plans_per_stage": {}}, "expected 'plans_per_stage' with a stage, found {}"),
        (v1_plans((16, 16)), "expected 'pool_op_kernel_sizes[0]' with 2 numbers above 0, found [1, 2, 2]"),
        (v1_plans((4, 16, 16, 1)), "expected 'patch_size' with 4 numbers above 0, found [4, 16, 16, 1]"),
        (v1_plans((4, 16, 0)), "expected 'patch_size' with 3 numbers above 0, found [4, 16, 0]"),
        (v1_plans(spacing=(1.5, 1.5)), "expected 'current_spacing' with 3 numbers above 0, found [1.5, 1.5]"),
        (
            v1_plans(kernels=["333"] * 3),
            "expected 'conv_kernel_sizes[0]' with 3 numbers above 0, found ['3', '3', '3']",
        ),
        (v1_plans(base="32"), "expected 'base_num_features' with 1 numbers above 0, found ['32']"),
        (v1_plans() | {"plans_per_stage": {0: {"patch_size": [1]}}}, "expected plans_per_stage[0] with 'current_spa"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, content: Any, line: str) -> None:
    with pytest.raises(UserError) as error:
        found(tmp_path, content)
    assert line in str(error.value)


def test_the_stage_that_was_trained_must_be_there(tmp_path: Path) -> None:
    file = write_v1(tmp_path, unet_weights(), v1_plans())
    write_pickle(file.with_name(f"{file.name}.pkl"), {"init": ("plans.pkl", 0, "", "", False, 1)})
    with pytest.raises(UserError, match=r"expected the stage 1 that was trained, found 0. Give the plans"):
        V1Plans.find(V1Checkpoint.read(file), None)
