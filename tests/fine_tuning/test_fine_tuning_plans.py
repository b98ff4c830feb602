"""Plans for a source of other channels, classes and spacing: consistent, and nnU-Net builds the source's network."""

import json

import pytest
import torch
from nnssl_checkpoint import network_of
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.fine_tuning.fine_tuning_plans import BLOCK, FineTuningPlans, Wanted
from nnunet_ext.methods.baseline.planner import LitePlanner

LABELS = {"background": 0, "vessel": 1, "lesion": 2, "ignore": 3}


@pytest.fixture
def made(source, own):
    """A source of CT with axes in order; data of T2 and CT whose last axis is the coarsest."""
    mine = own(
        LitePlanner, spacing=(1.0, 1.0, 2.5), shape=(60, 50, 24), channels=("T2", "CT"), labels=LABELS, mean=777.0
    )

    def make(model=None, **wanted):
        return FineTuningPlans.make(model or source(transpose=(1, 0, 2)), mine, "FineTunePlans", Wanted(**wanted))

    return make


def test_the_weights_fit_the_network_that_nnunet_builds(made, source):
    model = source()
    plans = PlansManager(json.loads(json.dumps(made(model).plans)))
    configuration = plans.get_configuration("3d_fullres")
    network = nnUNetTrainer.build_network_architecture(plans, configuration, 2, 3, True)
    own = network.state_dict()
    differ = {name for name in own if own[name].shape != model.weights[name].shape}
    assert own.keys() == model.weights.keys()
    assert {name.rpartition(".")[0].rpartition("decoder.encoder.")[2] for name in differ} == {
        "encoder.stages.0.0.convs.0.conv",
        "encoder.stages.0.0.convs.0.all_modules.0",
        "stages.0.0.convs.0.conv",
        "stages.0.0.convs.0.all_modules.0",
    }  # the first convolution alone: two channels
    images = torch.zeros(1, 2, *configuration.patch_size)
    assert network(images)[0].shape == (1, 3, *configuration.patch_size)


def test_the_plans_are_consistent(made):
    found = made()
    plans, entry = found.plans, found.plans["configurations"]["3d_fullres"]
    assert (plans["dataset_name"], plans["plans_name"]) == ("Dataset001_Target", "FineTunePlans")
    assert (plans["transpose_forward"], plans["transpose_backward"]) == ([2, 0, 1], [1, 2, 0])
    assert plans["original_median_spacing_after_transp"] == [2.5, 1.0, 1.0]
    assert plans["original_median_shape_after_transp"] == [24, 60, 50]
    assert (plans["image_reader_writer"], plans["experiment_planner_used"]) == ("SimpleITKIO", "LitePlanner")
    assert entry["data_identifier"] == "FineTunePlans_3d_fullres"
    assert entry["spacing"] == [3.0, 1.0, 1.0]
    assert entry["median_image_size_in_voxels"] == [20.0, 60.0, 50.0]
    assert all(size % step == 0 for size, step in zip(entry["patch_size"], (4, 8, 8), strict=True))
    assert (entry["batch_size"], entry["batch_dice"]) == (2, False)
    assert entry["normalization_schemes"] == ["ZScoreNormalization", "CTNormalization"]
    means = {key: value["mean"] for key, value in plans["foreground_intensity_properties_per_channel"].items()}
    assert means == {"0": 777.0, "1": 50.0}
    assert list(plans["configurations"]) == ["3d_fullres"]


def test_every_decision_is_a_row_and_in_the_plans(made):
    found = made()
    rows = {decision.what: decision for decision in found.decisions}
    assert list(rows) == [
        *("network", "transposition", "spacing (mm)", "patch size", "batch size"),
        *("normalization of 'T2'", "normalization of 'CT'", "mirroring", "channels", "classes", "files"),
    ]
    assert rows["network"].row()[1] == "PlainConvUNet, 4 stages, 2 to 2 features"
    assert rows["channels"].why == "images have them; the source's (CT) are matched by name; new: T2"
    assert rows["classes"].why == (
        "labels have them; of the source's heads, rows by name: background, vessel; new: lesion; not taken: organ"
    )
    assert rows["classes"].value == ["vessel", "lesion"]
    assert rows["files"].value == ["SimpleITKIO", ".nii.gz"]
    block = found.plans[BLOCK]
    assert block["decisions"] == [decision.as_json() for decision in found.decisions]
    assert (block["model"], block["dataset"], block["trainer"]) == (
        "source.pth",
        "Dataset777_Elsewhere",
        "nnUNetTrainer",
    )


def test_weights_of_a_partly_other_network_warn(made, source):
    weights = dict(source().weights)
    name = "encoder.stages.1.0.convs.0.norm.weight"
    del weights[name]
    (network, *_) = made(source(weights=weights, trainer="GreatTrainer")).decisions
    assert network.warning == (
        f"network: 1 of its tensors are not in the weights in their shape and start at random, the first is {name}; "
        f"trainer GreatTrainer may have built another network"
    )
    assert made().decisions[0].warning == ""


def test_every_wish_is_granted(made):
    found = made(spacing="target", patch_size=[8, 16, 24], batch_size=3, normalization="target", transpose=[2, 1, 0])
    entry = found.plans["configurations"][found.configuration]
    assert (entry["spacing"], entry["patch_size"], entry["batch_size"]) == ([2.5, 1.0, 1.0], [8, 16, 24], 3)
    assert found.plans["transpose_forward"] == [2, 1, 0]
    assert found.plans["foreground_intensity_properties_per_channel"]["1"]["mean"] == 777.0
    asked = {decision.what for decision in found.decisions if decision.origin == "flag"}
    assert len(asked) == 6


def test_a_2d_model(made, source):
    model = source(configuration="2d", spacing=(1.2, 1.2))
    found = made(model)
    entry = found.plans["configurations"]["2d"]
    assert (found.configuration, entry["spacing"], entry["batch_dice"]) == ("2d", [1.2, 1.2], True)
    assert entry["median_image_size_in_voxels"] == [50.0, 42.0]


def test_the_first_stage_of_a_cascade_is_planned_alone(source, own):
    mine = own(LitePlanner, spacing=(1.0, 1.0, 1.0), shape=(600, 600, 600))
    model = source(configuration="3d_lowres", spacing=(2.4, 2.4, 2.4))
    found = FineTuningPlans.make(model, mine, "FineTunePlans", Wanted())
    assert mine.plans["configurations"]["3d_lowres"]["next_stage"] == "3d_cascade_fullres"
    assert "next_stage" not in found.plans["configurations"]["3d_lowres"]
    assert found.plans["configurations"]["3d_lowres"]["batch_dice"] is False


def test_a_source_that_tells_nothing(source, made):
    rows = {decision.what: decision for decision in made(source(channels=None)).decisions}
    assert "the source's (in its own order) are matched" in rows["channels"].why
    assert rows["classes"].why.endswith("of the source's heads, labels of the file unknown, rows by position")


def test_the_size_of_images_is_that_of_the_axes_in_order(source, own):
    """Two slices along the last axis of the images, the first of the plans, whose divisor is 4; that of others is 8."""
    mine = own(LitePlanner, spacing=(1.0, 1.0, 2.5), shape=(60, 50, 2))
    found = FineTuningPlans.make(source(), mine, "FineTunePlans", Wanted(spacing="target"))
    assert found.plans["configurations"]["3d_fullres"]["patch_size"][0] == 4


def test_an_encoder_that_nnssl_pre_trained(made, pretrained):
    """Every decision has its reason; nnU-Net builds the network that the encoder fits."""
    model = pretrained()
    found = made(model)
    rows = {decision.what: decision for decision in found.decisions}
    assert rows["network"].row() == (
        "network",
        "ResidualEncoderUNet, 3 stages, 4 to 8 features",
        "kept from the source because its encoder and stem were pre-trained without labels (by nnssl's "
        "BaseMAETrainer_BS8); decoder and heads start at random, as in nnU-Net's own fine-tuning of such weights",
    )
    assert rows["network"].warning.endswith(
        "recipe for such weights, and its long one is --set num_epochs=1000 warm_up=0.05"
    )
    assert rows["patch size"].why.endswith(
        "; the pre-training recommends 160 x 160 x 160, which --patch_size source takes"
    )
    assert rows["transposition"].value == [0, 1, 2]
    assert rows["spacing (mm)"].why.startswith("the source's, 1 x 1 x 1, differs by a factor of 2.5 along an axis")
    assert rows["channels"].why == (
        "images have them; the pre-training had one of any kind, whose kernels each of yours gets, divided by 2"
    )
    assert (rows["classes"].warning, rows["classes"].why) == (
        "",
        "labels have them; a pre-training has no classes, so all heads start at random",
    )
    assert (rows["mirroring"].value, rows["mirroring"].origin) == ([0, 1, 2], "both")
    assert found.plans[BLOCK]["dataset"] == "Dataset745_OpenMind"
    plans = PlansManager(json.loads(json.dumps(found.plans)))
    own = nnUNetTrainer.build_network_architecture(
        plans, plans.get_configuration("3d_fullres"), 1, 3, True
    ).state_dict()
    assert all(own[name].shape == tensor.shape for name, tensor in model.weights.items())
    entry = made(model, patch_size="source", spacing="source", normalization="source").plans["configurations"][
        "3d_fullres"
    ]
    assert (entry["patch_size"], entry["spacing"]) == ([160] * 3, [1.0] * 3)
    assert entry["normalization_schemes"] == ["ZScoreNormalization"] * 2


def test_a_pre_training_of_two_channels(made, pretrained):
    model = pretrained(network_of(channels=2), pretrain_num_input_channels=2)
    rows = {decision.what: decision for decision in made(model).decisions}
    assert "the source's (in its own order) are matched by name" in rows["channels"].why
    assert rows["normalization of 'T2'"].origin == "both"


def test_data_of_one_channel_for_a_pre_training(own, pretrained):
    rows = {each.what: each for each in FineTuningPlans.make(pretrained(), own(), "FineTunePlans", Wanted()).decisions}
    assert rows["channels"].why == "images have them; the pre-training had one of any kind"
