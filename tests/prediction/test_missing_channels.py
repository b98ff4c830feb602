"""Images without one of the model's channels."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from redundant_channel import NAME
from small_model import phantom, write_image

from nnunet_ext.errors import UserError
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.prediction import Predictor
from nnunet_ext.prediction.missing_channels import missing_channels
from nnunet_ext.prediction.prepared_case import PreparedCase
from nnunet_ext.prediction.trained_model import TrainedModel

SPACING = (3.0, 1.3, 1.0)
CT = {"mean": 50.0, "std": 20.0, "percentile_00_5": -60.0, "percentile_99_5": 180.0}
TWO: dict[str, Any] = {
    "channels": 2,
    "normalization_schemes": ["ZScoreNormalization", "CTNormalization"],
    "use_mask_for_norm": [True, False],
    "intensities": {"0": {}, "1": CT},
}


def two_channels() -> np.ndarray:
    """The second channel is 0 wherever the first is, and in more places."""
    return np.concatenate([phantom(border=3), phantom(seed=1, border=5)])


def prepared(model: Path, image: np.ndarray, missing: tuple[int, ...]) -> PreparedCase:
    read = TrainedModel.load(model)
    read.missing_channels = missing
    return PreparedCase.from_array(read, image, SPACING)


def test_the_other_channel_is_as_ever_and_the_missing_one_is_0(write_model: Callable[..., Path]) -> None:
    model = write_model(**TWO)
    whole, found = prepared(model, two_channels(), ()), prepared(model, two_channels()[:1], (1,))
    assert found.image.shape == whole.image.shape != (2, *two_channels().shape[1:])
    assert torch.equal(found.image[0], whole.image[0])
    assert not found.image[1].any()
    assert whole.image[1].any()
    assert found.properties["bbox_used_for_cropping"] == whole.properties["bbox_used_for_cropping"]


def test_cropped_to_what_is_there(write_model: Callable[..., Path]) -> None:
    model = write_model(**TWO)
    whole, found = prepared(model, two_channels(), ()), prepared(model, two_channels()[1:], (0,))
    size = [end - start for start, end in found.properties["bbox_used_for_cropping"]]
    assert size == [4, 20, 16]
    assert whole.properties["bbox_used_for_cropping"] != found.properties["bbox_used_for_cropping"]
    assert not found.image[0].any()
    assert found.image[1].any()


def test_training_sees_the_same(redundant: Callable[..., Any]) -> None:
    """The preprocessed training case, with a lost channel, equals the image that the network predicts."""
    trainer = redundant(NNUNetBaselineTrainer, channel_dropout=0.999999)
    trainer.initialize()
    trainer.save_checkpoint = lambda _: None
    data, _, _, _ = trainer.get_tr_and_val_datasets()[0].load_case("Tr_0")
    lose = trainer.lose_channels
    image = torch.from_numpy(np.asarray(data[:]))
    while not lose(image=image.clone())["image"][0].any():
        pass
    images = redundant.root / "raw" / NAME / "imagesTr"  # type: ignore[attr-defined]
    model = TrainedModel.__new__(TrainedModel)
    model.plans_manager, model.configuration = trainer.plans_manager, trainer.configuration_manager
    model.dataset_json, model.channels, model.missing_channels = trainer.dataset_json, 2, (1,)
    found = PreparedCase.from_files(model, [images / "Tr_0_0000.nii.gz"])
    assert torch.equal(found.image[0], image[0])
    assert not found.image[1].any()


def test_arrays_files_and_folders(write_model: Callable[..., Path], tmp_path: Path, caplog) -> None:
    image = two_channels()
    write_image(tmp_path / "images/a_0000.nii.gz", image[0], SPACING)
    write_image(tmp_path / "images/b_0000.nii.gz", image[0], SPACING)
    write_image(tmp_path / "images/b_0001.nii.gz", image[1], SPACING)  # not looked at
    with caplog.at_level(logging.WARNING):
        predictor = Predictor(write_model(**TWO), device="cpu", mirroring=False, missing_channels=["MR 1"])
    assert "the model was trained without the knob channel_dropout" in caplog.text
    labels = predictor.predict_array(image[:1], SPACING)
    assert len(np.unique(labels)) > 1
    results = predictor.predict_folder(tmp_path / "images", tmp_path / "out", show_progress=False)
    assert [result.problem for result in results] == [None, None]
    predictor.predict_files([tmp_path / "images/a_0000.nii.gz"], tmp_path / "c.nii.gz")
    read = predictor.model.plans_manager.image_reader_writer_class().read_seg
    for file in (tmp_path / "out/a.nii.gz", tmp_path / "out/b.nii.gz", tmp_path / "c.nii.gz"):
        assert np.array_equal(read(str(file))[0][0], labels)
    with pytest.raises(UserError, match="expected 1 channel, as the model was trained with and 1 of them missing, fou"):
        predictor.predict_array(image, SPACING)
    (tmp_path / "images/a_0000.nii.gz").rename(tmp_path / "images/a_0001.nii.gz")
    with pytest.raises(UserError, match=r"expected 1 channel of case 'a' as in dataset.json, found no a_0000.nii.gz"):
        predictor.predict_folder(tmp_path / "images", tmp_path / "out")


def test_trained_with_the_knob(write_model: Callable[..., Path]) -> None:
    model = write_model(**TWO)
    plans = json.loads((model / "plans.json").read_text())
    plans["nnunet_ext"] = {"channel_dropout": 0.3}
    (model / "plans.json").write_text(json.dumps(plans))
    assert TrainedModel.load(model).channel_dropout == 0  # stock's trainer does not know it
    file = model / "fold_0/checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    torch.save(checkpoint | {"trainer_name": "NNUNetBaselineTrainer"}, file)
    assert TrainedModel.load(model).channel_dropout == 0.3


NAMES = {"channel_names": {"0": "T1", "1": "CT", "2": "CT", "3": "T2"}}


@pytest.mark.parametrize(("channels", "expected"), [([], ()), (["1", 1], (1,)), (["T2", "0"], (0, 3))])
def test_numbers_and_names(channels: list[Any], expected: tuple[int, ...]) -> None:
    assert missing_channels(channels, NAMES) == expected


@pytest.mark.parametrize(
    ("channels", "text"),
    [
        (["t2"], r"missing channel t2: expected one of 0 \(T1\), 1 \(CT\), 2 \(CT\), 3 \(T2\), found none of them"),
        ([4], "missing channel 4: expected one of .* found none"),
        (["CT"], "missing channel CT: expected one of .* found 2 of them. Give its number"),
        (["0", "1", "2", "3"], r"expected one that is there, of 0 \(T1\), .* found none. Leave one out"),
    ],
)
def test_no_such_channel(channels: list[Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        missing_channels(channels, NAMES)
