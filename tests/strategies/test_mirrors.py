"""The knob mirror_axes: augmentation, checkpoint and prediction agree, in every trainer, in 2d and 3d."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext import sockets
from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.errors import UserError
from nnunet_ext.methods.ba_net.trainer import BANetTrainer
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.methods.mean_teacher.trainer import MeanTeacherTrainer
from nnunet_ext.prediction.sliding_window import SlidingWindow
from nnunet_ext.prediction.trained_model import TrainedModel
from nnunet_ext.strategies.mirrors import Mirrors

NAME = "configure_rotation_dummyDA_mirroring_and_inital_patch_size"
CASES = [("2d", None, (0, 1)), ("2d", [], None), ("2d", [1], (1,)), ("3d_fullres", [2, 0], (0, 2))]


def mirrorings(transform: Any) -> list[tuple[int, ...]]:
    """The axes of all mirrorings in a composed transform."""
    found = [tuple(transform.allowed_axes)] if isinstance(transform, MirrorTransform) else []
    return found + [axes for part in getattr(transform, "transforms", []) for axes in mirrorings(part)]


@pytest.mark.parametrize(("configuration", "knob", "expected"), CASES)
def test_training_checkpoint_and_prediction_agree(
    half_labelled: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    configuration: str,
    knob: list[int] | None,
    expected: tuple[int, ...] | None,
) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)
    monkeypatch.setattr(ExtTrainer, "check_gpu_memory", lambda _: None)
    trainer = half_labelled(NNUNetBaselineTrainer, configuration, mirror_axes=knob)
    given: list[Any] = []
    build = nnUNetTrainer.get_training_transforms

    def kept(*args: Any, **kwargs: Any) -> Any:
        given.append(build(*args, **kwargs))
        return given[-1]

    monkeypatch.setattr(trainer, "get_training_transforms", kept)
    trainer.on_train_start()
    assert mirrorings(given[0]) == ([] if expected is None else [expected])
    file = Path(trainer.output_folder) / "checkpoint_final.pth"
    trainer.logger.log("epoch_end_timestamps", 0, 0)
    trainer.save_checkpoint(str(file))
    assert torch.load(file, weights_only=False)["inference_allowed_mirroring_axes"] == expected
    model = TrainedModel.load(file.parent.parent, ["0"], "checkpoint_final.pth")
    assert SlidingWindow(model, torch.device("cpu")).mirroring_axes == expected
    again = half_labelled(NNUNetBaselineTrainer, configuration, mirror_axes=knob)
    again.load_checkpoint(str(file))  # nnU-Net's validation predicts with these
    assert again.inference_allowed_mirroring_axes == expected


@pytest.mark.parametrize("kind", [BANetTrainer, MeanTeacherTrainer])
def test_other_networks_and_unlabelled_images(half_labelled: Callable[..., Any], kind: type[Any]) -> None:
    trainer = half_labelled(kind, "3d_fullres", mirror_axes=[1])
    assert getattr(trainer, NAME)()[3] == trainer.inference_allowed_mirroring_axes == (1,)


def test_every_trainer_has_it() -> None:
    for name in sockets.names("trainers"):
        assert getattr(sockets.load("trainers", name), NAME) is getattr(Mirrors, NAME), name


def test_an_axis_that_2d_does_not_have(half_labelled: Callable[..., Any]) -> None:
    trainer = half_labelled(NNUNetBaselineTrainer, "2d", mirror_axes=[0, 2])
    with pytest.raises(UserError, match=r"'2d', knob 'mirror_axes': expected axes of a patch, from 0 to 1, got \[0, 2"):
        getattr(trainer, NAME)()
