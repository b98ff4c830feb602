"""What cannot be a source is refused; older plans are completed."""

import pytest
from small_unet import planned_unet

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.source.source_model import SourceModel, trained_configuration


def changed(model, plans=None, **fields):
    arguments = {name: getattr(model, name) for name in SourceModel.__dataclass_fields__}
    return SourceModel(**arguments | {"plans": plans or model.plans} | fields)


TASK = {"name": "liver", "dataset": "Dataset003_Liver", "channels": 1, "heads": 3, "cases": 9}
TABLE = {"format": 1, "name": "Dataset900_Many", "tasks": [TASK]}


def test_a_collection(source):
    model = source()
    with pytest.raises(
        UserError, match=r"found that of a collection, .* a task's view \(liver\); nnunet_ext task_views"
    ):
        changed(model, model.plans | {"collection": TABLE})
    assert changed(model, model.plans | {"collection": TABLE | {"task": "liver"}}).classes == ["organ", "vessel"]
    with pytest.raises(UserError, match="found that of a collection"):
        changed(model, dataset_json={"tasks": {}})


def test_a_cascade(source):
    model = source()
    planned = model.plans["configurations"]
    planned["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    with pytest.raises(
        UserError, match=r"the second stage of a cascade \(3d_cascade_fullres\).*3d_fullres or 3d_lowres"
    ):
        changed(model, configuration_name="3d_cascade_fullres")


def test_plans_without_its_configuration(source):
    with pytest.raises(UserError, match=r"'3d_fulres'\. Did you mean '3d_fullres'"):
        changed(source(), configuration_name="3d_fulres")


def test_plans_of_nnunet_2_0(source):
    """Before 2.2, plans had no entry ``architecture``."""
    model = source()
    old = dict(model.configuration)
    del old["architecture"]
    old |= {"UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 2, "unet_max_num_features": 2}
    old |= {"n_conv_per_stage_encoder": [1] * 4, "n_conv_per_stage_decoder": [1] * 3}
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
    old |= {"conv_kernel_sizes": [[3, 3, 3]] * 4, "pool_op_kernel_sizes": strides, "num_pool_per_axis": []}
    found = changed(model, model.plans | {"configurations": {"3d_fullres": old}}).architecture
    expected = planned_unet(strides, features=(2, 2, 2, 2))
    assert found["network_class_name"] == expected["network_class_name"]
    assert found["arch_kwargs"] | {"norm_op_kwargs": None} == expected["arch_kwargs"] | {"norm_op_kwargs": None}
    del old["conv_kernel_sizes"]
    with pytest.raises(UserError, match=r"which cannot be read \(KeyError: 'conv_kernel_sizes'\)"):
        _ = changed(model, model.plans | {"configurations": {"3d_fullres": old}}).architecture


def test_which_configuration_was_trained(source):
    model = source()
    plans = model.plans | {"configurations": model.plans["configurations"] | {"2d": {"patch_size": [8, 8]}}}
    assert trained_configuration(model.file, {"configuration": "2d"}, plans, model.weights) == "2d"
    assert trained_configuration(model.file, {}, plans, model.weights) == "3d_fullres"
    plans["configurations"]["3d_lowres"] = plans["configurations"]["3d_fullres"]
    with pytest.raises(UserError, match=r"names its configuration, .* found 3d_fullres, 3d_lowres"):
        trained_configuration(model.file, {}, plans, model.weights)


def test_what_is_unknown(source):
    model = source(channels=None)
    assert (model.channel_names, model.classes) == (None, None)
    assert source(channels=("a", "b")).channel_names == ["a", "b"]
    old = changed(source(), dataset_json={"modality": {"0": "CT"}, "labels": {"background": 0, "x": 1, "ignore": 2}})
    assert (old.channel_names, old.classes) == (["CT"], ["x"])


@pytest.mark.parametrize("key", ["transpose_forward", "foreground_intensity_properties_per_channel"])
def test_plans_that_lack_something(source, key):
    model = source()
    plans = {name: value for name, value in model.plans.items() if name != key}
    with pytest.raises(UserError, match=f"expected plans of nnU-Net v2 with '{key}', found none"):
        changed(model, plans)


@pytest.mark.parametrize("key", ["patch_size", "spacing", "batch_size", "normalization_schemes", "use_mask_for_norm"])
def test_a_configuration_that_lacks_something(source, key):
    model = source()
    entry = {name: value for name, value in model.configuration.items() if name != key}
    with pytest.raises(UserError, match=f"expected plans of nnU-Net v2 with '{key}', found none"):
        changed(model, model.plans | {"configurations": {"3d_fullres": entry}})
