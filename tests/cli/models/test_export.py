"""``nnunet_ext export``: what it says; ``tests/export`` has what it writes."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_model import write_small_model

from nnunet_ext import sockets
from nnunet_ext.cli.main import main

Mistake = Callable[[list[str] | str], str]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of two folds in nnUNet_results, where nnUNet_extTrainer is not set."""
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    monkeypatch.delenv(sockets.VARIABLE, raising=False)
    return write_small_model(tmp_path / "results", folds=(0, 1))


def test_a_stock_network(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, card = tmp_path / "new" / "model.zip", tmp_path / "CARD.md"
    words = ["export", "-d", "901", "-c", "3d_fullres", "-o", str(file)]
    assert main([*words, "-f", "1", "1", "--as", "Mine", "--card", str(card)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{file} written: Dataset901_Phantom/nnUNetTrainer__Mine__3d_fullres, folds 1",
        "Left out: nothing",
        f"Stock nnU-Net imports it: nnUNetv2_install_pretrained_model_from_zip {file}",
        "Fill in intended use and licence in the model card before you hand it over.",
    ]
    assert card.read_text().startswith("# Model card: Dataset901_Phantom, 3d_fullres")
    file.unlink()
    assert main(words) == 0
    assert ", folds 0, 1\n" in capsys.readouterr().out
    with zipfile.ZipFile(file) as archive:
        assert sum(name.endswith(".pth") for name in archive.namelist()) == 2


def test_another_network(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A BA-Net: its trainer is found although nnUNet_extTrainer is not set."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    other = model.with_name(model.name.replace("nnUNetTrainer", "BANetTrainer"))
    shutil.copytree(model, other)
    plans = PlansManager(str(other / "plans.json"))
    build = sockets.load("trainers", "BANetTrainer").build_network_architecture  # type: ignore[attr-defined]
    network = build(plans, plans.get_configuration("3d_fullres"), 1, 4, enable_deep_supervision=False)
    content = torch.load(other / "fold_0" / "checkpoint_final.pth", weights_only=True)
    content |= {"network_weights": network.state_dict(), "trainer_name": "BANetTrainer", "optimizer_state": {}}
    torch.save(content, other / "fold_0" / "checkpoint_final.pth")
    file = tmp_path / "model.zip"
    assert main(["export", "-d", "901", "-c", "3d_fullres", "-tr", "BANetTrainer", "-f", "0", "-o", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("written: Dataset901_Phantom/BANetTrainer__nnUNetPlans__3d_fullres, folds 0")
    assert lines[1] == "Left out: checkpoint: optimizer_state"
    assert lines[2].startswith("Not a network of stock nnU-Net: who predicts with it needs nnunet_ext. (")
    assert "BANetTrainer" in lines[2]


def test_mistakes(model: Path, tmp_path: Path, mistake: Mistake) -> None:
    words = f"export -d 901 -c 3d_fullres -o {tmp_path / 'model.zip'}"
    assert mistake(f"export -d 901 -c 3d_fullres -o {tmp_path / 'model'}").endswith(
        "model: expected a name that ends in .zip, got another. Add .zip."
    )
    assert "Trained here (-tr__-p__-c): nnUNetTrainer__nnUNetPlans__3d_fullres." in mistake(f"{words} -tr OurTrainer")
    assert "expected the checkpoint of fold 3, found no file. Trained: -f 0 1." in mistake(f"{words} -f 3")
    assert "expected a fold with checkpoint_x.pth, found none" in mistake(f"{words} -chk checkpoint_x.pth")
    assert mistake(f"{words} --as a__b").startswith("--as 'a__b': expected letters, digits")
    (tmp_path / "model.zip").write_text("mine")
    assert "model.zip: expected no such file yet, found one. Choose another name." in mistake(words)
    (tmp_path / "file").touch()
    assert "expected a folder that can be written" in mistake(f"{words} --card {tmp_path / 'file' / 'card.md'}")
    assert (tmp_path / "model.zip").read_text() == "mine"
