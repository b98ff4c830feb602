"""Training labels whose ignored voxels are filled with what the network finds there."""

from __future__ import annotations

import glob
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.semi_supervised.predict import Unsure, predict_cases
from nnunet_ext.semi_supervised.pseudo_labels import PseudoLabelFolder, PseudoLabelled


def fill_ignored(trainer: ExtTrainer, into: PseudoLabelFolder, threshold: float | None = None) -> str:
    """Predict the training cases of the fold that have ignored voxels, and fill these; all others keep their labels.

    Validation cases are not touched. Cases without an ignored voxel are neither predicted nor written.

    Args:
        trainer: Whose network predicts; deep supervision is off afterwards.
        into: Where the label maps go; those of other networks are removed.
        threshold: Voxels stay ignored where the probability of the label, or the least one over regions, is lower.

    Returns:
        What distinguishes these label maps from those of other weights or labels.
    """
    cases = sorted(trainer.do_split()[0])
    folder = Path(trainer.preprocessed_dataset_folder)
    dataset = trainer.dataset_class(str(folder), cases)
    files = [file.stat() for case in cases for file in sorted(folder.glob(f"{glob.escape(case)}*"))]
    stamps = json.dumps([cases, threshold, [[file.st_size, file.st_mtime_ns] for file in files]]).encode()
    return predict_cases(trainer, dataset, cases, stamps, into, partial(_fill, threshold=threshold), "training")


def _fill(
    trainer: ExtTrainer,
    case: str,
    dataset: nnUNetBaseDataset,
    predictor: nnUNetPredictor,
    into: PseudoLabelFolder,
    *,
    threshold: float | None,
) -> None:
    """Write the label map of a case with ignored voxels, in the form of preprocessed labels."""
    manager = trainer.label_manager
    data, stored, _, _ = dataset.load_case(case)
    labels = np.array(stored[:])
    ignored = labels == manager.ignore_label
    if not ignored.any():
        return
    logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(data[:])).cpu()
    found = manager.convert_logits_to_segmentation(logits).numpy()[None]
    if threshold is not None:
        ignored &= ~Unsure(threshold, manager.ignore_label).voxels(logits, regions=manager.has_regions)[None]
    labels[ignored] = found[ignored]
    classes = [*(manager.foreground_regions if manager.has_regions else manager.foreground_labels)]
    locations = trainer.configuration_manager.preprocessor_class._sample_foreground_locations(
        labels, [*classes, [-1, *manager.all_labels]]
    )
    into.write(case, labels, locations, like=stored)


class WithFilledLabels:
    """A dataset in which some cases have other labels.

    Args:
        dataset: nnU-Net's dataset of the preprocessed cases.
        filled: Label maps of some of them.
    """

    def __init__(self, dataset: nnUNetBaseDataset, filled: PseudoLabelFolder) -> None:
        self._dataset = dataset
        self._filled = filled
        self._with_others = PseudoLabelled(Path(dataset.source_folder), dataset.identifiers, filled)

    @property
    def identifiers(self) -> list[str]:
        """Names of the cases."""
        return self._dataset.identifiers

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Return image (C, D, H, W), labels (1, D, H, W), labels of an earlier stage, and properties."""
        return (self._with_others if self._filled.has(identifier) else self._dataset).load_case(identifier)
