"""Predict images, measure how suspicious each is and how far from others, and choose."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from nnunet_ext.data.case_check import SKIP, check_case
from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_reader import planned_reader, read_image
from nnunet_ext.errors import one_line
from nnunet_ext.next_cases.choice import choose
from nnunet_ext.next_cases.image_features import ImageFeatures
from nnunet_ext.next_cases.next_case import NextCase
from nnunet_ext.next_cases.uncertain_box import Box, uncertain_box, window_size
from nnunet_ext.prediction.predictor import Predictor
from nnunet_ext.prediction.trained_model import TrainedModel, trained_folds
from nnunet_ext.quality.assessment import Assessment
from nnunet_ext.quality.case_quality import CaseQuality
from nnunet_ext.quality.disagreement import Repetition
from nnunet_ext.quality.model_files import INTENSITIES, ModelFiles
from nnunet_ext.quality.picture import picture_side
from nnunet_ext.quality.training_labels import training_labels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What a search found.

    Args:
        cases: The chosen cases, best first; each has a label map in ``drafts``.
        drafts: Folder of label maps.
        failed: Cases that could not be used: a file is damaged, channels have other grids, or the image is empty.
    """

    cases: list[NextCase]
    drafts: Path
    failed: list[str]


@dataclass(frozen=True)
class Search:
    """Chooses images for annotation.

    Args:
        model: Folder of the model.
        images: Folder of images named CASE_0000.nii.gz and so on.
        scratch: An empty folder for label maps.
        folds: Folds; none: all that are trained.
        checkpoint: Name of the checkpoint.
        device: ``cpu``, ``cuda`` or ``mps``.
        step_size: Step of the sliding window in patches.
        trust: Let the model run the code that its files name; only for models whose maker you know.
        show_progress: Show progress bars.
    """

    model: Path
    images: Path
    scratch: Path
    folds: Sequence[str] = ()
    checkpoint: str = "checkpoint_final.pth"
    device: str = "cuda"
    step_size: float = 0.5
    trust: bool = False
    show_progress: bool = True

    @property
    def drafts(self) -> Path:
        """Where label maps are."""
        return self.scratch / "drafts"

    def at_random(self, cases: Sequence[Case], number: int, seed: int) -> Found:
        """Choose at random; only the chosen cases are predicted. One that cannot be predicted is replaced.

        Args:
            cases: To choose from.
            number: How many to choose.
            seed: Of the choice.

        Raises:
            UserError: The model cannot be used.
        """
        order = [cases[place].name for place in np.random.default_rng(seed).permutation(len(cases))]
        by_name = {case.name: case for case in cases}
        predictor = self._predictor()
        chosen: list[str] = []
        failed: list[str] = []
        while order and len(chosen) < number:
            wanted, order = order[: number - len(chosen)], order[number - len(chosen) :]
            bad = self._damaged([by_name[name] for name in wanted], predictor.model)
            bad += self._predict(predictor, [name for name in wanted if name not in bad])
            failed += bad
            chosen += [name for name in wanted if name not in bad]
        return Found([NextCase(name) for name in chosen], self.drafts, sorted(failed))

    def suspicious(
        self,
        cases: Sequence[Case],
        number: int,
        files: ModelFiles,
        reference: Path,
        annotated: Sequence[Case],
    ) -> Found:
        """Choose suspicious images that are unlike each other and unlike annotated ones.

        Args:
            cases: To choose from.
            number: How many to choose.
            files: The model's files.
            reference: JSON file for measures of the training labels; it is read if it is about the same files.
            annotated: Cases whose images count as covered.

        Raises:
            UserError: The model cannot be used.
        """
        predictor = self._predictor()
        several, mirrors = len(predictor.model.folds) > 1, predictor.model.mirroring_axes is not None
        bad = self._damaged(cases, predictor.model)
        bad += self._predict(predictor, [case.name for case in cases if case.name not in bad])
        del predictor  # its weights, before others are loaded
        good = [case for case in cases if case.name not in bad]
        names = [case.name for case in good]
        training = training_labels(files, reference, show_progress=self.show_progress)
        assessment = Assessment(_as_the_network_sees(files), training)
        looked = assessment.of_folder(self.images, self.drafts, only=names, show_progress=self.show_progress)
        quality = {case.name: case for case in looked}
        for each in looked:  # these predictions were made just now: equal ones have equal images, which distance tells
            each.reasons = [reason for reason in each.reasons if reason.kind != "copy"]
        repetition = None
        if several or mirrors:
            repetition = self._repetition(None if several else self.drafts)
            self._compare(repetition, good, quality, files)
        else:
            logger.warning("the model has one fold and no mirroring: there is no second prediction to compare with")
        good = [case for case in good if not quality[case.name].failed]
        features = self._features()
        vectors = self._vectors(features, good, "features", "case %s was left out: %s")
        good = [case for case in good if case.name in vectors]
        failed = sorted({case.name for case in cases} - {case.name for case in good})
        if not good:
            return Found([], self.drafts, failed)
        points = np.stack([vectors[case.name] for case in good])
        covered = self._vectors(features, annotated, "annotated", "annotated image %s is left out: %s")
        suspicion = np.array([quality[case.name].suspicion for case in good])
        chosen = []
        for choice in choose(suspicion, points, np.array([*covered.values()]).reshape(-1, points.shape[1]), number):
            case = good[choice.index]
            box = None if repetition is None else self._box(repetition, case, features.model)
            chosen.append(NextCase(case.name, quality[case.name], choice, box))
        if picture_side(len(names)) < picture_side(len(chosen)):  # they were made for a page of all images
            for each in assessment.of_folder(self.images, self.drafts, only=[case.name for case in chosen]):
                quality[each.name].picture = each.picture
        return Found(chosen, self.drafts, failed)

    def _predictor(self) -> Predictor:
        return Predictor(
            self.model,
            self.folds or None,
            self.checkpoint,
            device=self.device,
            step_size=self.step_size,
            trust=self.trust,
        )

    def _damaged(self, cases: Sequence[Case], model: TrainedModel) -> list[str]:
        """Return the cases that no training could use, and say why."""
        reader = planned_reader(model.plans_manager.plans)
        damaged = []
        for case in self._bar(cases, "check"):
            try:  # whatever is wrong with one case must not lose the others
                check_case(case, reader, model.channels, (), filled=True)
            except Exception as error:
                logger.error("case %s was not predicted: %s", case.name, one_line(error).replace(SKIP, ""))
                logger.debug("case %s", case.name, exc_info=True)
                damaged.append(case.name)
        return damaged

    def _predict(self, predictor: Predictor, names: Sequence[str]) -> list[str]:
        """Predict cases; return those that failed."""
        results = predictor.predict_folder(self.images, self.drafts, only=names, show_progress=self.show_progress)
        return [result.name for result in results if result.problem is not None]

    @property
    def _again(self) -> Path:
        return self.scratch / "again"

    def _repetition(self, mirrored: Path | None) -> Repetition:
        return Repetition(
            self.model, self.folds, self.checkpoint, self.device, self.trust, self.step_size, mirrored=mirrored
        )

    def _compare(
        self, repetition: Repetition, cases: Sequence[Case], quality: dict[str, CaseQuality], files: ModelFiles
    ) -> None:
        """Add by how much predictions disagree, also by little: it orders the cases that nothing else tells apart."""
        self._again.mkdir()
        found = repetition.reasons(
            cases, foreground_classes(files.dataset_json), self._again, at_least=0, show_progress=self.show_progress
        )
        for name, reasons in found.items():
            quality[name].reasons += reasons
            quality[name].failed |= any(reason.kind == "file" for reason in reasons)

    def _features(self) -> ImageFeatures:
        fold = list(self.folds[:1]) or trained_folds(self.model, self.checkpoint)[:1]
        model = TrainedModel.load(self.model, fold, self.checkpoint, trust=self.trust)
        return ImageFeatures(model, torch.device(self.device))

    def _vectors(
        self, features: ImageFeatures, cases: Sequence[Case], title: str, message: str
    ) -> dict[str, NDArray[np.float32]]:
        """Return the vector of each image; one that has none is told."""
        found = {}
        for case in self._bar(cases, title):
            try:
                found[case.name] = features.of_files(case.images)
            except Exception as error:
                logger.error(message, case.name, one_line(error))
                logger.debug("case %s", case.name, exc_info=True)
        return found

    def _box(self, repetition: Repetition, case: Case, model: TrainedModel) -> Box | None:
        reader = planned_reader(model.plans_manager.plans)
        read = [
            read_image(reader, file, label=True) for file in repetition.label_maps(self._again, case, model.file_ending)
        ]
        maps = [labels[0] for labels, _ in read]
        return uncertain_box(maps, window_size(model, maps[0].shape, read[0][1]))

    def _bar(self, cases: Sequence[Case], name: str) -> Iterable[Case]:
        bar: Iterable[Case] = tqdm(cases, desc=name, unit="case", disable=not self.show_progress)
        return bar


def _as_the_network_sees(files: ModelFiles) -> ModelFiles:
    """Leave out the intensities of channels that are scaled image by image: their unit teaches the network nothing."""
    pools = files.fingerprint.get(INTENSITIES, {})
    scaled = {str(number) for number, scheme in enumerate(files.normalization) if scheme != "CTNormalization"}
    kept = {channel: pool for channel, pool in pools.items() if channel not in scaled}
    return replace(files, fingerprint=files.fingerprint | {INTENSITIES: kept})
