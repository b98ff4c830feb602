"""The copy holds what a fine-tuning needs, as tensors and JSON alone."""

import errno

import numpy as np
import pytest
import torch
from nnssl_checkpoint import adaptation_plan, network_of, write_nnssl

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.source.read_source import read_source
from nnunet_ext.fine_tuning.source.source_copy import is_copy_of, write_source_copy


def test_only_tensors_and_json(source, tmp_path):
    model = source()
    model.plans["original_median_spacing_after_transp"] = np.array([3.0, 1.0, 1.0])
    file = write_source_copy(model, tmp_path / "copy")
    found = torch.load(file, weights_only=True)
    assert found.keys() == {"network_weights", "init_args", "trainer_name", "inference_allowed_mirroring_axes"}
    assert found["init_args"]["plans"]["original_median_spacing_after_transp"] == [3.0, 1.0, 1.0]
    assert found["init_args"]["dataset_json"] == model.dataset_json
    assert found["init_args"]["configuration"] == "3d_fullres"
    assert (found["trainer_name"], found["inference_allowed_mirroring_axes"]) == ("nnUNetTrainer", (0, 1, 2))
    assert found["network_weights"].keys() == model.weights.keys()
    assert all(torch.equal(found["network_weights"][name], tensor) for name, tensor in model.weights.items())
    assert [path.name for path in file.parent.iterdir()] == ["checkpoint.pth"]


def test_a_tensor_of_several_names_is_stored_once(source, tmp_path):
    model = source()
    large = torch.zeros(1_000_000)
    weights = dict(model.weights) | {"view": large[:2], "one": large[4:6], "two": large[4:6]}
    file = write_source_copy(source(weights=weights), tmp_path)
    distinct = {tensor.data_ptr(): tensor.numel() for tensor in model.weights.values()}
    assert file.stat().st_size < 4 * sum(distinct.values()) + 60_000
    found = torch.load(file, weights_only=True)["network_weights"]
    assert found["one"].data_ptr() == found["two"].data_ptr() != found["view"].data_ptr()
    names = [name for name in found if name.startswith("encoder.stages.0.0.convs.0.") and name.endswith("v.weight")]
    aliases = {found[name].data_ptr() for name in [*names, *(f"decoder.{name}" for name in names)]}
    assert (len(names), len(aliases)) == (1, 1)


def test_without_dataset_json(source, tmp_path):
    found = torch.load(write_source_copy(source(channels=None), tmp_path), weights_only=True)
    assert "dataset_json" not in found["init_args"]


def test_a_full_disk(source, tmp_path, monkeypatch):
    file = write_source_copy(source(), tmp_path)
    before = file.read_bytes()

    def full(content, target):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=f"{file}: expected to write.*No space left on device"):
        write_source_copy(source(), tmp_path)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pth"]


def test_the_copy_of_an_encoder_that_nnssl_pre_trained(tmp_path):
    """Strides that only the decoder told, and names that the plan gave, are written out."""
    network = network_of(strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]])
    state = {name.replace("encoder.", "student.", 1): value for name, value in network.state_dict().items()}
    plan = adaptation_plan(network, preset="ResEncL", key_to_encoder="student.stages", key_to_stem="student.stem")
    model = read_source([write_nnssl(tmp_path / "a.pth", network, plan, network_weights=state)], tmp_path)
    file = write_source_copy(model, tmp_path / "copy")
    assert "init_args" not in torch.load(file, weights_only=True)
    again = read_source([file], tmp_path)
    assert (again.plans, again.trainer, again.mirroring_axes) == (model.plans, model.trainer, model.mirroring_axes)
    assert again.weights.keys() == model.weights.keys()
    assert is_copy_of(file.parent, model)
