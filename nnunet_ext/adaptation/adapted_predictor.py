"""Prediction with GraTa from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_ext.adaptation.adapted_stages import GATE, STEPS, AdaptedStages
from nnunet_ext.adaptation.grata import RATE
from nnunet_ext.prediction.predictor import Predictor


class AdaptedPredictor(Predictor):
    """Predicts with norms that are adapted to each case; see :class:`Predictor` for the other arguments.

    Args:
        model: The model.
        folds: Folds, each of which is adapted.
        checkpoint: Name of the checkpoint.
        steps: Of the optimizer, for each case and fold.
        gate: Least agreement with the plain prediction, from 0 to 1, for the adapted one to be used.
        rate: Learning rate of the optimizer, where both gradients of a step have the same direction.
        options: Those of :class:`Predictor`.

    Raises:
        UserError: The network has no instance norms that can be adapted, or as for :class:`Predictor`.

    Example:
        >>> folder = "nnUNet_results/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres"
        >>> predictor = AdaptedPredictor(folder, folds=(0,), device="cpu", mirroring=False)  # doctest: +SKIP
        >>> results = predictor.predict_folder("imagesTs", "predictions")  # doctest: +SKIP
        >>> results[0].facts  # doctest: +SKIP
        {'used': 'adapted', 'agreement': '0.9927', 'time factor': '81.9'}
    """

    def __init__(
        self,
        model: str | Path,
        folds: Sequence[int | str] | None = None,
        checkpoint: str = "checkpoint_final.pth",
        *,
        steps: int = STEPS,
        gate: float = GATE,
        rate: float = RATE,
        **options: Any,
    ) -> None:
        super().__init__(model, folds, checkpoint, **options)
        plain = self._stages
        self._stages: AdaptedStages = AdaptedStages(plain.window, plain.on_device, plain.check, steps, gate, rate)
