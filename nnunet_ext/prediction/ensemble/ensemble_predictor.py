"""Prediction from Python with several models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_ext.errors import UserError
from nnunet_ext.prediction.ensemble.ensemble_stages import EnsembleStages
from nnunet_ext.prediction.predictor import Predictor
from nnunet_ext.prediction.trained_model import TrainedModel


class EnsemblePredictor(Predictor):
    """Predicts with the mean probabilities of several models, of any trainers and plans for the same labels.

    The labels are those of ``nnUNetv2_predict --save_probabilities`` for each model and ``nnUNetv2_ensemble``, apart
    from voxels where the mean probabilities of two labels are nearly equal. No probabilities are written.

    Args:
        models: Two or more folders ``TRAINER__PLANS__CONFIGURATION``, or zip files of one model each.
        folds: Folds of each model; None: all that it has been trained in.
        checkpoint: As for :class:`Predictor`, like all others.
        device: ``"cpu"``, ``"cuda"`` or ``"mps"``; all models are on it.
        step_size: Of the sliding window in patches.
        mirroring: Average over the mirrorings that the training used.
        on_device: On a GPU, keep images and sums of logits there while they fit.
        trust: Let the models run the code that their files name.

    Raises:
        UserError: One of the models cannot be predicted by :class:`Predictor`, or has other labels, channels, file
            ending or reader than the first.

    Example:
        >>> from nnunet_ext.prediction.ensemble.ensemble_predictor import EnsemblePredictor
        >>> predictor = EnsemblePredictor(["unet.zip", "ba_net.zip"], device="cpu")  # doctest: +SKIP
        >>> results = predictor.predict_folder("imagesTs", "predictions")  # doctest: +SKIP
    """

    def __init__(
        self,
        models: Sequence[str | Path],
        folds: Sequence[int | str] | None = None,
        checkpoint: str = "checkpoint_final.pth",
        *,
        device: str = "cuda",
        step_size: float = 0.5,
        mirroring: bool = True,
        on_device: bool = True,
        trust: bool = False,
    ) -> None:
        if len(models) < 2:
            raise UserError(
                f"models: expected two or more, got {len(models)}. Predict one model with nnunet_ext predict."
            )
        options: dict[str, Any] = {"device": device, "step_size": step_size, "mirroring": mirroring}
        options |= {"on_device": on_device, "trust": trust}
        super().__init__(models[0], folds, checkpoint, **options)
        others = [Predictor(model, folds, checkpoint, **options) for model in models[1:]]
        for other, name in zip(others, models[1:], strict=True):
            _check_alike(self.model, str(models[0]), other.model, str(name))
        windows = tuple(other._stages.window for other in others)
        self._stages: EnsembleStages = EnsembleStages(self._stages.window, self._stages.on_device, others=windows)


def _check_alike(first: TrainedModel, first_name: str, other: TrainedModel, name: str) -> None:
    """Refuse a model whose probabilities mean something else.

    Raises:
        UserError: The first difference.
    """
    expected, found = _described(first), _described(other)
    for key, value in expected.items():
        if found[key] != value:
            raise UserError(
                f"{name}: expected the {key} of {first_name}, {value}, found {found[key]}. Choose models for the same "
                f"labels and images."
            )


def _described(model: TrainedModel) -> dict[str, Any]:
    """What models of one ensemble have in common; the order of regions is that of the network's output."""
    description = model.dataset_json
    labels = [[name, *_numbers(value)] for name, value in description["labels"].items()]
    regions = model.label_manager.has_regions
    return {
        "labels": labels if regions else sorted(labels, key=str),
        "regions_class_order": description.get("regions_class_order") if regions else None,
        "channels": list(dict(description.get("channel_names", description.get("modality", {}))).values()),
        "file ending": model.file_ending,
        "reader": model.plans_manager.image_reader_writer_class.__name__,
    }


def _numbers(value: Any) -> list[int]:
    return [int(each) for each in (value if isinstance(value, list | tuple) else [value])]
