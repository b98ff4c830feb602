"""Predictions of all unlabelled cases by the network in training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset, nnUNetDatasetBlosc2
from tqdm import tqdm

from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.data.preprocessed.marker import DataMarker
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.semi_supervised.losses import probabilities
from nnunet_ext.semi_supervised.preprocessing import check_unlabelled, unlabelled_folder
from nnunet_ext.semi_supervised.pseudo_labels import PseudoLabelFolder

Predict = Callable[[ExtTrainer, str, nnUNetBaseDataset, nnUNetPredictor, PseudoLabelFolder], None]
TOGETHER = 20  # cases of a rank between two meetings, as in nnU-Net's validation


@dataclass(frozen=True)
class Unsure:
    """Voxels that a network is unsure of.

    Args:
        below: Probability; of regions, that of the least certain one, present or not.
        label: What such voxels are labelled.
    """

    below: float
    label: int

    def voxels(self, logits: torch.Tensor, *, regions: bool) -> np.ndarray:
        """Return where they are, (D, H, W), from logits (K, D, H, W)."""
        found = probabilities(logits[None].float(), regions=regions)[0]
        certain = torch.maximum(found, 1 - found).amin(0) if regions else found.amax(0)
        return (certain < self.below).numpy()


def predict_unlabelled(
    trainer: ExtTrainer, into: PseudoLabelFolder, *, mirroring: bool = True, unsure: Unsure | None = None
) -> str:
    """Predict as nnU-Net does in its validation: sliding window, mirroring, on the preprocessed images.

    Deep supervision is off afterwards. With several ranks, each predicts its share; they wait for each other now and
    then, because the process group would otherwise time out on a slow one. Cases that this network has predicted
    before, in a run that was killed, are not predicted again.

    Args:
        trainer: Whose network predicts.
        into: Where the label maps go; those of other networks are removed.
        mirroring: Average over mirrored images, as far as the network was trained with them.
        unsure: What is labelled otherwise.

    Returns:
        What distinguishes these predictions from those of other weights, images or settings: the digest of the folder's
        marker.
    """
    data = (Path(trainer.preprocessed_dataset_folder_base), trainer.plans_manager.plans, trainer.configuration_name)
    cases, folder = check_unlabelled(*data), unlabelled_folder(*data)
    settings = [each for each in (mirroring, unsure) if each not in (True, None)]
    images = DataMarker(folder).file.read_bytes() + (repr(settings).encode() if settings else b"")
    dataset = nnUNetDatasetBlosc2(str(folder), cases)
    predict: Predict = _predict if unsure is None else partial(_predict, unsure=unsure)
    return predict_cases(trainer, dataset, cases, images, into, predict, "unlabelled", mirroring=mirroring)


def predict_cases(
    trainer: ExtTrainer,
    dataset: nnUNetBaseDataset,
    cases: Sequence[str],
    images: bytes,
    into: PseudoLabelFolder,
    predict: Predict,
    kind: str,
    *,
    mirroring: bool = True,
) -> str:
    """Predict cases and write what becomes of it; see :func:`predict_unlabelled`.

    Args:
        trainer: Whose network predicts.
        dataset: Where the cases are.
        cases: Their names.
        images: Identifies the cases, and the settings of the prediction.
        into: Where label maps go; those of other networks or images are removed.
        predict: Called with trainer, case, dataset, predictor and ``into``; writes the case, if there is anything.
        kind: Of the cases, for the log.
        mirroring: Average over mirrored images, as far as the network was trained with them.

    Returns:
        The digest of the folder's marker.
    """
    digest = _digest(trainer, images)
    if into.marker.problem(digest) is None:
        return digest
    _on_first_rank(into.begin, digest)
    missing = [case for case in cases if not into.has(case)]
    Ranks.now().wait()
    trainer.print_to_log_file(f"Predicting {len(missing)} of {len(cases)} {kind} cases: {into.place}")
    trainer.set_deep_supervision_enabled(False)
    predictor = _predictor(trainer, mirroring)
    ranks = Ranks.now()
    own = tqdm(ranks.share(missing), f"predicting {kind} images", disable=not ranks.is_first)
    for number, case in enumerate(own, start=1):
        predict(trainer, case, dataset, predictor, into)
        if number % TOGETHER == 0 and number < len(missing) // ranks.world_size:
            ranks.wait()
    _on_first_rank(into.finish, digest)
    return digest


def _digest(trainer: ExtTrainer, images: bytes) -> str:
    """Return a digest of the network and the images."""
    digest = hashlib.sha256(images)
    for name, tensor in trainer.bare_network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _predictor(trainer: ExtTrainer, mirroring: bool = True) -> nnUNetPredictor:
    predictor = nnUNetPredictor(use_mirroring=mirroring, device=trainer.device, allow_tqdm=False)
    predictor.manual_initialization(
        trainer.bare_network,
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    return predictor


def _predict(
    trainer: ExtTrainer,
    case: str,
    dataset: nnUNetBaseDataset,
    predictor: nnUNetPredictor,
    into: PseudoLabelFolder,
    unsure: Unsure | None = None,
) -> None:
    """Write what is predicted of a case in the form of preprocessed labels: -1 is background outside the body."""
    data, body, _, _ = dataset.load_case(case)
    logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(data[:]))
    manager = trainer.label_manager
    labels = manager.convert_logits_to_segmentation(logits.cpu()).numpy().astype(np.int16)[None]
    labels[(labels == 0) & (body[:] < 0)] = -1
    if unsure is not None:
        labels[unsure.voxels(logits.cpu(), regions=manager.has_regions)[None] & (labels >= 0)] = unsure.label
    classes = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    preprocessor = trainer.configuration_manager.preprocessor_class
    locations = preprocessor._sample_foreground_locations(labels, classes)
    into.write(case, labels, locations, like=body)


def _on_first_rank(function: Callable[[str], None], digest: str) -> None:
    """Call a function in one process, while the others wait before and after."""
    ranks = Ranks.now()
    ranks.wait()
    if ranks.is_first:
        function(digest)
    ranks.wait()
