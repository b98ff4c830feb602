"""The data's own plans are those of the planner, and no file."""

import json

import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    ResEncUNetPlanner,
)

from nnunet_ext.errors import UserError
from nnunet_ext.methods.baseline.planner import LitePlanner


@pytest.mark.parametrize("planner", [ExperimentPlanner, LitePlanner, ResEncUNetPlanner])
def test_they_are_the_planners_but_not_saved(own, planner, tmp_path, capsys):
    made = own(planner, spacing=(1.0, 1.0, 2.5), shape=(60, 50, 24))
    folder = tmp_path / "nnUNet_preprocessed/Dataset001_Target"
    assert not list(folder.glob("*Plans.json"))
    assert capsys.readouterr().out == ""
    expected = planner("Dataset001_Target", plans_name="FineTunePlans").plan_experiment()
    saved = json.loads((folder / "FineTunePlans.json").read_text())
    assert json.loads(json.dumps(made.plans)) == saved == json.loads(json.dumps(expected))
    assert made.plans["experiment_planner_used"] == planner.__name__


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_a_configuration_at_the_own_spacing_is_the_own_one(own, configuration):
    made = own(spacing=(1.0, 1.0, 2.5), shape=(60, 50, 24))
    assert made.transpose == (2, 0, 1)
    assert list(made.image_spacing(configuration)) == [1.0, 1.0, 2.5]
    axes = 2 if configuration == "2d" else 3
    there = made.configuration_at([1.0, 1.0, 2.5], made.transpose, axes)
    others = {"data_identifier": None, "batch_dice": None}
    assert there | others == made.plans["configurations"][configuration] | others


def test_another_spacing_changes_shape_and_voxels(own):
    made = own()
    assert list(made.shape_at([5.0, 0.5, 1.0])) == [12, 120, 50]
    assert made.voxels_at([5.0, 0.5, 1.0]) == 10 * 12 * 120 * 50


def test_lowres_has_its_own_spacing(own):
    made = own(LitePlanner, spacing=(1.0, 1.0, 2.0), shape=(600, 600, 400))
    lowres = made.plans["configurations"]["3d_lowres"]["spacing"]
    assert lowres[0] == pytest.approx(max(lowres))
    assert list(made.image_spacing("3d_lowres")) == [lowres[1], lowres[2], lowres[0]]


@pytest.mark.parametrize(
    ("wanted", "like", "dimensions", "expected"),
    [
        (None, "3d_fullres", 3, "3d_fullres"),
        (None, "3d_lowres", 3, "3d_fullres"),
        (None, "3d_fullres_high", 3, "3d_fullres"),
        (None, "2d", 2, "2d"),
        ("3d_fullres", "3d_lowres", 3, "3d_fullres"),
    ],
)
def test_which_configuration_takes_the_network(own, wanted, like, dimensions, expected):
    assert own().base(wanted, like, dimensions) == expected


def test_a_lowres_of_ones_own_takes_that_of_the_source(own):
    made = own(LitePlanner, spacing=(1.0, 1.0, 1.0), shape=(600, 600, 600))
    assert made.base(None, "3d_lowres", 3) == "3d_lowres"
    with pytest.raises(UserError, match="-c 3d_cascade_fullres: not among"):
        made.base("3d_cascade_fullres", "3d_fullres", 3)


@pytest.mark.parametrize(
    ("wanted", "like", "dimensions", "text"),
    [
        ("3d_fulres", "3d_fullres", 3, "-c 3d_fulres: not among the configurations that Dataset001_Target has of its "),
        (
            "3d_fullres",
            "2d",
            2,
            "found a 2d model (2d), whose kernels have 2 axes. Give -c 2d, or a model of the other",
        ),
        ("2d", "3d_fullres", 3, "found a 3d model (3d_fullres), whose kernels have 3 axes. Give -c 3d_fullres"),
    ],
)
def test_configurations_that_cannot(own, wanted, like, dimensions, text):
    with pytest.raises(UserError) as error:
        own().base(wanted, like, dimensions)
    assert text in str(error.value)


def test_images_of_one_slice_take_no_3d_model(own):
    made = own(spacing=(999.0, 1.0, 1.0), shape=(1, 64, 64))
    with pytest.raises(UserError, match=r"of 2d images alone of Dataset001_Target.*Take a model of configuration 2d\."):
        made.base(None, "3d_fullres", 3)
