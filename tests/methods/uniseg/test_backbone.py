"""The U-Net inside UniSeg, loaded by stock nnU-Net."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor
from torch.testing import assert_close

from nnunet_ext.base.checkpoints import read_checkpoint
from nnunet_ext.errors import UserError
from nnunet_ext.methods.uniseg.backbone import export_backbone
from nnunet_ext.methods.uniseg.trainer import UniSegTrainer

MODEL = "results/Dataset900_Shared/{}__CollectionLitePlans__3d_fullres/fold_0/checkpoint_final.pth"


def checkpoint(root: Path, trainer: str = "UniSegTrainer") -> Path:
    return root / MODEL.format(trainer)


def uniseg_without_prompt(file: Path) -> Any:
    """The model, whose prompt no longer reaches the decoder."""
    content = read_checkpoint(file)
    manager = PlansManager(content["init_args"]["plans"])
    network = UniSegTrainer.build_network_architecture(manager, manager.get_configuration("3d_fullres"), 1, 1, True)
    network.load_state_dict(content["network_weights"])
    with torch.no_grad():
        network.decoder.transpconvs[0].weight[-1] = 0
    return network.eval()


def stock_network(file: Path, channels: int) -> Any:
    content = read_checkpoint(file)
    manager = PlansManager(content["init_args"]["plans"])
    heads = content["network_weights"]["decoder.seg_layers.0.weight"].shape[0]
    network = nnUNetTrainer.build_network_architecture(
        manager, manager.get_configuration("3d_fullres"), channels, heads, True
    )
    network.load_state_dict(content["network_weights"])
    return network.eval()


def resenc(file: Path) -> Path:
    """Replace the model by one on residual-encoder plans."""
    content = torch.load(file, weights_only=False)
    architecture = content["init_args"]["plans"]["configurations"]["3d_fullres"]["architecture"]
    architecture["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    architecture["arch_kwargs"]["n_blocks_per_stage"] = architecture["arch_kwargs"].pop("n_conv_per_stage")
    manager = PlansManager(content["init_args"]["plans"])
    torch.manual_seed(1)
    network = UniSegTrainer.build_network_architecture(manager, manager.get_configuration("3d_fullres"), 1, 1, True)
    content["network_weights"] = network.state_dict()
    other = file.with_name("resenc.pth")
    torch.save(content, other)
    return other


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", ["plain", "resenc"])
def test_the_same_function_where_the_prompt_is_zero(untrained, tmp_path, kind, channels):
    source = checkpoint(untrained) if kind == "plain" else resenc(checkpoint(untrained))
    export_backbone(source, tmp_path / "backbone.pth", channels)
    uniseg, stock = uniseg_without_prompt(source), stock_network(tmp_path / "backbone.pth", channels)
    torch.manual_seed(0)
    image = torch.randn(1, channels, 12, 32, 40)
    with torch.no_grad():
        expected = uniseg.decode(uniseg.encode(image), torch.tensor([2]))
        found = stock(image)
    assert len(found) == len(expected) > 1
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, atol=1e-5, rtol=1e-5)
        assert one.std() > 1e-3


def plain_trainer(root: Path, dataset: str) -> nnUNetTrainer:
    """nnUNetTrainer on the plans of a member, before its training."""
    folder = root / "preprocessed" / dataset
    plans = json.loads((folder / "CollectionLitePlans_Dataset900_Shared.json").read_text())
    data = folder / plans["configurations"]["3d_fullres"]["data_identifier"]
    data.mkdir()
    (data / "case.b2nd").touch()  # tells nnU-Net the kind of its data files
    description = json.loads((folder / "dataset.json").read_text())
    plans["continue_training"] = False
    trainer = nnUNetTrainer(plans, "3d_fullres", 0, description, torch.device("cpu"))
    trainer.initialize()
    return trainer


@pytest.mark.parametrize(
    ("dataset", "channels"), [("Dataset901_Organ", 1), ("Dataset902_Nested", 1), ("Dataset904_Pair", 2)]
)
def test_pretrained_weights_of_the_stock_command(untrained, tmp_path, dataset, channels):
    export_backbone(checkpoint(untrained), tmp_path / "backbone.pth", channels)
    trainer = plain_trainer(untrained, dataset)
    fresh = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    maybe_load_checkpoint(trainer, False, False, str(tmp_path / "backbone.pth"))
    exported = read_checkpoint(tmp_path / "backbone.pth")["network_weights"]
    uniseg = read_checkpoint(checkpoint(untrained))["network_weights"]
    loaded = trainer.network.state_dict()
    assert any(name.startswith("decoder.encoder.") for name in loaded)  # the encoder is listed again
    for name, tensor in loaded.items():
        if ".seg_layers." in name:
            assert torch.equal(tensor, fresh[name])  # stock code leaves heads out
        else:
            assert torch.equal(tensor, exported[name]), name
            assert torch.equal(tensor, expected_tensor(name, uniseg, channels)), name


def expected_tensor(name: str, uniseg: dict[str, Tensor], channels: int) -> Tensor:
    if name == "decoder.transpconvs.0.weight":
        assert uniseg[name].shape[0] == 1 + uniseg["encoder.stages.3.0.convs.0.conv.weight"].shape[0]
        return uniseg[name][:-1]
    if name in uniseg:
        return uniseg[name]
    head, _, last = name.rpartition(".")
    assert ".stages.0.0.convs.0." in name  # nothing but the first convolution has another name
    return uniseg[f"{head}.convs.{channels}.{last}"]


def test_nothing_of_the_collection_is_left(untrained, tmp_path):
    export_backbone(checkpoint(untrained), tmp_path / "backbone.pth", 1)
    content = read_checkpoint(tmp_path / "backbone.pth")
    assert content["trainer_name"] == "nnUNetTrainer"
    assert "collection" not in content["init_args"]["plans"]
    assert not [
        name for name in content["network_weights"] if "prompt" in name or "fuse" in name or ".convs.2." in name
    ]
    assert [path.name for path in tmp_path.glob("backbone*")] == ["backbone.pth"]


def test_a_file_without_one_of_its_weights_is_refused(untrained, tmp_path):
    content = torch.load(checkpoint(untrained), weights_only=False)
    del content["network_weights"]["decoder.seg_layers.0.bias"]
    torch.save(content, tmp_path / "less.pth")
    expected = r"less.pth: expected the weights of the U-Net in its plans, but decoder.seg_layers.0.bias is not there"
    with pytest.raises(UserError, match=expected):
        export_backbone(tmp_path / "less.pth", tmp_path / "backbone.pth", 1)
    assert not (tmp_path / "backbone.pth").exists()


def test_a_file_with_two_values_of_one_weight_is_refused(untrained, tmp_path):
    content = torch.load(checkpoint(untrained), weights_only=False)
    name = "encoder.stages.1.0.convs.0.all_modules.0.bias"
    content["network_weights"][name] = content["network_weights"][name] + 1
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(
        UserError, match=r"odd.pth: expected one tensor under the names .* found different values\. Use"
    ):
        export_backbone(tmp_path / "odd.pth", tmp_path / "backbone.pth", 1)


def test_another_number_of_channels(untrained, tmp_path):
    with pytest.raises(
        UserError, match=r"--channels 3: expected a number of channels that Dataset900_Shared was .* 1, 2"
    ):
        export_backbone(checkpoint(untrained), tmp_path / "backbone.pth", 3)


def test_another_trainer(untrained, tmp_path):
    with pytest.raises(UserError, match="expected a checkpoint of UniSegTrainer, found one of MultiHeadTrainer"):
        export_backbone(checkpoint(untrained, "MultiHeadTrainer"), tmp_path / "backbone.pth", 1)


def test_decoder_kernels_of_v1(untrained, tmp_path):
    content = torch.load(checkpoint(untrained), weights_only=False)
    content["init_args"]["plans"]["nnunet_ext"] = {"uniseg": {"v1_decoder_kernels": True}}
    torch.save(content, tmp_path / "v1.pth")
    with pytest.raises(UserError, match=r"found v1's \(knob uniseg.v1_decoder_kernels\), which no stock network has"):
        export_backbone(tmp_path / "v1.pth", tmp_path / "backbone.pth", 1)


def test_a_file_that_is_there_stays(untrained, tmp_path):
    (tmp_path / "backbone.pth").mkdir()
    with pytest.raises(UserError, match=r"backbone.pth: expected no such file yet, found one\. Choose another"):
        export_backbone(checkpoint(untrained), tmp_path / "backbone.pth", 1)


def test_no_room(untrained, tmp_path, monkeypatch):
    source = checkpoint(untrained)

    def full(_, file) -> None:
        Path(file).write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed")

    monkeypatch.setattr(torch, "save", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"backbone.pth: expected to write a checkpoint, got "):
        export_backbone(source, tmp_path / "backbone.pth", 1)
    assert sorted(tmp_path.iterdir()) == before


def test_plans_that_would_run_code(untrained, tmp_path):
    """Refused before the network is built, which would call it."""
    content = torch.load(checkpoint(untrained), weights_only=False)
    architecture = content["init_args"]["plans"]["configurations"]["3d_fullres"]["architecture"]
    program = {"nonlin": "subprocess.Popen", "nonlin_kwargs": {"args": ["touch", str(tmp_path / "marker")]}}
    architecture["arch_kwargs"] |= program
    architecture["_kw_requires_import"] = sorted({*architecture["_kw_requires_import"], "nonlin"})
    torch.save(content, tmp_path / "evil.pth")
    with pytest.raises(UserError, match=r"evil\.pth: expected classes of networks, .* names 'subprocess\.Popen'"):
        export_backbone(tmp_path / "evil.pth", tmp_path / "backbone.pth", 1)


def test_a_file_that_names_no_trainer(untrained, tmp_path):
    content = torch.load(checkpoint(untrained), weights_only=False)
    del content["trainer_name"]
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=r"odd\.pth: expected a checkpoint of a training, found one without 'trainer_n"):
        export_backbone(tmp_path / "odd.pth", tmp_path / "backbone.pth", 1)
