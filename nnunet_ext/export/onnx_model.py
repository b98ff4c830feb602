"""Export of a trained model to the ONNX format: a network for each fold, and one JSON file with everything else."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch._dynamo import OptimizedModule
from tqdm import tqdm

from nnunet_ext.errors import UserError, one_line
from nnunet_ext.export.onnx_description import check_expressible, onnx_description
from nnunet_ext.files.json_file import whole_file
from nnunet_ext.onnx_runner.model_description import FILE, ModelDescription, checksum
from nnunet_ext.prediction.trained_model import TrainedModel

logger = logging.getLogger(__name__)
OPSET = 18  # what torch's tracing exporter and onnxruntime 1.20 have in common
TOLERANCE = 1e-3  # of the largest logit; what onnxruntime rounds otherwise than torch is below 1e-5


def export_onnx(
    model: Path,
    output: Path,
    folds: Sequence[str] | None = None,
    checkpoint: str = "checkpoint_final.pth",
    *,
    trust: bool = False,
    show_progress: bool = True,
) -> ModelDescription:
    """Write a model in the ONNX format.

    Args:
        model: Folder ``TRAINER__PLANS__CONFIGURATION``, or a zip file of one.
        output: Folder for ``fold_X.onnx`` and ``model.json``, which is written last; made if it is not there.
        folds: Folds to export; None: all that were trained.
        checkpoint: Name of the checkpoint.
        trust: Let the checkpoint run the code that it names.
        show_progress: Show a bar over the folds.

    Returns:
        What was written to ``model.json``.

    Raises:
        UserError: The model is damaged; the runner cannot predict it; its network cannot be exported, or onnxruntime
            computes other logits; or the folder holds an export, or cannot be written.
    """
    if (output / FILE).exists():
        raise UserError(f"{output}: expected no exported model, found {FILE}. Choose another folder.")
    trained = TrainedModel.load(model, folds, checkpoint, trust=trust)
    check_expressible(trained, model)
    network = trained.network
    network = network._orig_mod if isinstance(network, OptimizedModule) else network
    output.mkdir(parents=True, exist_ok=True)
    written: dict[str, tuple[str, str]] = {}
    shape = (trained.channels, *trained.configuration.patch_size)
    any_batch = True
    bar = tqdm(trained.folds, desc="folds", disable=not show_progress)
    for name, weights in zip(bar, trained.parameters, strict=True):
        trained.use(weights)
        file = output / f"fold_{name}.onnx"
        with whole_file(file) as partial:
            any_batch = write_network(network.eval(), shape, partial, model) and any_batch
        written[name] = file.name, checksum(file)
        logger.info("%s: logits of onnxruntime equal torch's", file)
    description = onnx_description(trained, model, written, None if any_batch else 1)
    description.write(output)
    return description


def write_network(network: nn.Module, shape: Sequence[int], file: Path, name: Path) -> bool:
    """Write a network in the ONNX format, and compare what onnxruntime computes with torch on random patches.

    The network is traced, which takes a second. Networks that choose a task take only the number of patches that they
    were traced with, one; operations that tracing does not know (deformable attention in 3d) are left to torch's other
    exporter, which takes a minute.

    Args:
        network: In eval mode, without deep supervision.
        shape: Of a patch, (C, D, H, W) or (C, H, W).
        file: Where to write it.
        name: The model, for messages.

    Returns:
        Whether the network takes any number of patches at once, or one.

    Raises:
        UserError: It cannot be exported, or onnxruntime computes other logits.
    """
    reasons = []
    for way, any_batch in ((_trace, True), (_trace, False), (_export, True), (_export, False)):
        try:
            way(network, torch.zeros(2 if any_batch else 1, *shape), file, any_batch)
            difference = _difference(network, shape, file, (1, 2) if any_batch else (1,))
        except Exception as error:  # of torch's two exporters and of onnxruntime, which have no common class
            logger.debug("%s: %s", name, way.__name__, exc_info=True)
            reasons.append(one_line(error))
            continue
        if difference <= TOLERANCE:
            return any_batch
        reasons.append(f"logits that differ by {difference:.1g} of the largest")
    raise UserError(
        f"{name}: expected a network that can be exported to the ONNX format, got {reasons[0]!r}. Predict with "
        f"nnunet_ext predict."
    )


def _trace(network: nn.Module, patches: torch.Tensor, file: Path, any_batch: bool) -> None:
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")  # that constants are traced, which _difference would show
        torch.onnx.export(
            network,
            (patches,),
            str(file),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}} if any_batch else None,
            opset_version=OPSET,
            dynamo=False,
        )


def _export(network: nn.Module, patches: torch.Tensor, file: Path, any_batch: bool) -> None:
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (patches,),
            str(file),
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},) if any_batch else None,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@torch.inference_mode()
def _difference(network: nn.Module, shape: Sequence[int], file: Path, batches: Sequence[int]) -> float:
    """Return the largest difference of two logits, relative to the largest logit."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    found = []
    for batch in batches:
        patches = torch.randn(batch, *shape, generator=generator)
        expected = network(patches).numpy()
        (logits,) = session.run(None, {"image": patches.numpy()})
        if logits.shape != expected.shape:
            raise ValueError(f"logits {logits.shape} instead of {expected.shape}")
        found.append(float(np.abs(logits - expected).max() / np.abs(expected).max()))
    return max(found) if np.isfinite(found).all() else float("inf")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's C++ code from printing the whole graph of a network that it cannot trace."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            try:
                yield
            finally:
                os.dup2(kept, 1)
    finally:
        os.close(kept)
