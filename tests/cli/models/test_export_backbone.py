"""``nnunet_ext export_backbone``: the file it writes, and its mistakes."""

from __future__ import annotations

from pathlib import Path

import torch

from nnunet_ext.cli.main import main

WORDS = "export_backbone -d 900 -p CollectionLitePlans"


def test_export(untrained, tmp_path, capsys):
    file = tmp_path / "new folder" / "backbone.pth"
    assert main([*WORDS.split(), "-f", "1", "--channels", "2", "-o", str(file)]) == 0
    assert capsys.readouterr().out == f"{file} written. Train with nnUNetv2_train ... -pretrained_weights {file}\n"
    weights = torch.load(file, weights_only=False)["network_weights"]
    assert weights["encoder.stages.0.0.convs.0.conv.weight"].shape[1] == 2


def test_a_file_that_is_there_stays(untrained, mistake):
    own = next((untrained / "results").rglob("UniSegTrainer__*/fold_1/checkpoint_final.pth"))
    before = own.read_bytes()
    text = mistake([*WORDS.split(), "-f", "1", "--channels", "2", "-o", str(own)])
    assert text == f"-o {own}: expected no such file yet, found one. Choose another."
    assert own.read_bytes() == before


def test_mistakes(untrained, tmp_path, mistake):
    rest = f"--channels 1 -o {tmp_path / 'backbone.pth'}"
    assert "fold_3/checkpoint_final.pth: expected the checkpoint of fold 3" in mistake(f"{WORDS} -f 3 {rest}")
    assert "checkpoint_best.pth: expected" in mistake(f"{WORDS} -f 0 -chk checkpoint_best.pth {rest}")
    text = mistake(f"{WORDS} -f 0 -tr MultiHeadTrainer {rest}")
    assert "expected a checkpoint of UniSegTrainer, found one of MultiHeadTrainer" in text
    assert "expected a trained model, found none" in mistake(f"{WORDS} -f 0 -tr nnUNetTrainer {rest}")
    text = mistake(f"{WORDS} -f 0 --channels 4 -o {tmp_path / 'backbone.pth'}")
    assert text.startswith("--channels 4: expected a number of channels that Dataset900_Shared was trained with, 1, 2.")
    assert not Path(tmp_path / "backbone.pth").exists()
