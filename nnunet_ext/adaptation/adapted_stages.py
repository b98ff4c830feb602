"""The stages of a prediction with GraTa: a plain prediction, an adapted one, and a gate that chooses."""

from __future__ import annotations

import contextlib
import copy
import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._dynamo import OptimizedModule

from nnunet_ext.adaptation.agreement import agreement
from nnunet_ext.adaptation.grata import RATE, adapt
from nnunet_ext.adaptation.norm_parameters import norm_parameters
from nnunet_ext.adaptation.patches import foreground_patches
from nnunet_ext.adaptation.views import views_of
from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.data.dataset_json import with_numbers
from nnunet_ext.errors import UserError
from nnunet_ext.prediction.full_gpu import gpu_is_full
from nnunet_ext.prediction.label_map import label_map
from nnunet_ext.prediction.prepared_case import PreparedCase
from nnunet_ext.prediction.sliding_window import Progress
from nnunet_ext.prediction.stages import LabelledCase, Stages, network_pass

logger = logging.getLogger(__name__)
PATCHES = 2  # of a case: a step costs two passes with gradients and one for each view, of each
STEPS = 10
GATE = 0.99  # a class loses at most 2 * (1 - gate) of Dice, against a truth at least as large as both label maps


@dataclass(frozen=True)
class AdaptedCase:
    """Both predictions of a case.

    Args:
        plain: Without adaptation.
        adapted: With it; labels are on the same grid.
        agreement: Smallest Dice of both over the classes that one of them has.
        factor: How many times the plain prediction's time both take together.
    """

    plain: LabelledCase
    adapted: LabelledCase
    agreement: float
    factor: float


@dataclass
class AdaptedStages(Stages):
    """Adapts each fold's norms to each case, and predicts with them if the labels stay nearly the same.

    Args:
        steps: Of the optimizer.
        gate: Least agreement with the plain prediction for the adapted one to be used.
        rate: Learning rate of the optimizer, see :func:`~nnunet_ext.adaptation.grata.adapt`.

    Raises:
        UserError: The network has no instance norms that can be adapted.
    """

    steps: int = STEPS
    gate: float = GATE
    rate: float = RATE
    _network: nn.Module = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Copy the network, because what predicts is used in inference mode, which forbids gradients."""
        plain = self.window.model.network
        self._network = copy.deepcopy(plain._orig_mod if isinstance(plain, OptimizedModule) else plain)
        self._network.requires_grad_(False)
        for parameter in norm_parameters(self._network):
            parameter.requires_grad_(True)

    def label(self, case: PreparedCase, progress: Progress | None = None) -> LabelledCase:
        """Predict a case twice and choose; the result's facts say what was chosen and why.

        Raises:
            UserError: A sum of logits does not fit fp16, or the GPU's memory is full.
            RuntimeError: Another error of the GPU.
        """
        both = self.both(case, progress)
        used = both.adapted if both.agreement >= self.gate else both.plain
        facts = {
            "used": "adapted" if used is both.adapted else f"plain, agreement below {self.gate:g}",
            "agreement": f"{both.agreement:.4f}",
            "time factor": f"{both.factor:.1f}",
        }
        return LabelledCase(used.labels, both.plain.network + both.adapted.network, used.export, facts)

    def both(self, case: PreparedCase, progress: Progress | None = None) -> AdaptedCase:
        """Predict a case without and with adaptation; the model's weights are afterwards what they were.

        Args:
            case: The case.
            progress: Called after each window, of the plain prediction and then of the adapted one.
        """
        start = perf_counter()
        plain, foreground = self._predict(case, progress)
        between = perf_counter()
        try:
            parameters = self._adapted(case, foreground)
        except RuntimeError as error:
            if not gpu_is_full(error):
                raise
            raise UserError(
                "--adapt grata: expected memory on the GPU for gradients of a patch, found it full. End what else runs "
                "on this GPU, or predict without --adapt."
            ) from error
        with self._borrowed(parameters):
            adapted, _ = self._predict(case, progress)
        adapted = LabelledCase(adapted.labels, perf_counter() - between - adapted.export, adapted.export)
        classes = foreground_classes(with_numbers(self.window.model.dataset_json, Path("dataset.json")))
        factor = (perf_counter() - start) / (between - start)
        return AdaptedCase(plain, adapted, agreement(plain.labels, adapted.labels, classes), factor)

    def _predict(self, case: PreparedCase, progress: Progress | None) -> tuple[LabelledCase, NDArray[np.bool_]]:
        """Predict, and note which voxels of the preprocessed image are foreground."""
        model, parts = self.window.model, list[NDArray[np.bool_]]()

        def noted(slabs: Iterator[Tensor]) -> Iterator[Tensor]:
            for slab in slabs:
                foreground = (slab > 0).any(0) if model.label_manager.has_regions else slab.argmax(0) > 0
                parts.append(foreground.cpu().numpy())
                yield slab

        def export(slabs: Iterator[Tensor]) -> NDArray[Any]:
            parts.clear()  # it is called again if the GPU's memory was full
            return label_map(noted(slabs), case.image.shape[1:], model, case.properties)

        made = network_pass(self.window, case.image, export, on_device=self.on_device, progress=progress)
        return LabelledCase(made.result, made.network, made.export), np.concatenate(parts)

    def _adapted(self, case: PreparedCase, foreground: NDArray[np.bool_]) -> list[dict[str, Tensor]]:
        """Return the weights of each fold, adapted to a case; nothing that was learned from another case is in them."""
        model, configuration = self.window.model, self.window.model.configuration
        patch, parameters = configuration.patch_size, norm_parameters(self._network)
        views = views_of(patch, configuration.spacing[-len(patch) :], model.mirroring_axes or ())
        adapted = []
        for fold in model.parameters:
            self._network.load_state_dict(fold)
            # of the image itself: the same in any order of cases, and for each fold
            generator = np.random.default_rng(zlib.crc32(case.image.numpy().tobytes()))
            patches = foreground_patches(case.image, foreground, patch, PATCHES, generator)
            rates = adapt(
                self._network,
                parameters,
                patches,
                views,
                regions=model.label_manager.has_regions,
                steps=self.steps,
                generator=generator,
                rate=self.rate,
                masked=configuration.use_mask_for_norm,
            )
            logger.debug("learning rates: %s", rates)
            adapted.append({name: value.cpu().clone() for name, value in self._network.state_dict().items()})
        return adapted

    @contextlib.contextmanager
    def _borrowed(self, parameters: list[dict[str, Tensor]]) -> Iterator[None]:
        """Let the model have other weights for a while."""
        model = self.window.model
        plain = model.parameters
        try:
            model.parameters = parameters
            model.use(parameters[0])
            yield
        finally:
            model.parameters = plain
            model.use(plain[0])
