"""Look at all predictions of a folder."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nnunet_ext.data.case_check import knows_spacing
from nnunet_ext.data.classes import foreground_classes, map_names
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_file import check_finite
from nnunet_ext.data.image_reader import planned_reader, read_image
from nnunet_ext.data.raw_dataset import list_images
from nnunet_ext.errors import one_line
from nnunet_ext.files.system_files import DOUBLE
from nnunet_ext.quality.case_quality import CaseQuality
from nnunet_ext.quality.class_signals import class_reasons
from nnunet_ext.quality.grid import Grid
from nnunet_ext.quality.image_signals import image_reasons
from nnunet_ext.quality.measured_map import MeasuredMap
from nnunet_ext.quality.model_files import ModelFiles
from nnunet_ext.quality.picture import picture, picture_side
from nnunet_ext.quality.reason import Reason
from nnunet_ext.quality.wording import amount

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

logger = logging.getLogger(__name__)


class Assessment:
    """Compares predictions with what a model was trained on.

    Args:
        model: The model's files.
        training: Its training labels, measured; without any, only files and images are looked at.

    Example:
        >>> from pathlib import Path
        >>> from nnunet_ext.quality.model_files import ModelFiles
        >>> from nnunet_ext.quality.training_labels import training_labels
        >>> model = ModelFiles.read(Path("nnUNetTrainer__nnUNetPlans__3d_fullres"))  # doctest: +SKIP
        >>> training = training_labels(model, Path("qa_reference.json"))  # doctest: +SKIP
        >>> cases = Assessment(model, training).of_folder(Path("imagesTs"), Path("predictions"))  # doctest: +SKIP
    """

    def __init__(self, model: ModelFiles, training: Sequence[MeasuredMap]) -> None:
        self._model = model
        self._training = training
        self._orientations = [case.orientation for case in training if case.orientation is not None]
        self._reader: BaseReaderWriter = planned_reader(model.plans)
        self._classes = foreground_classes(model.dataset_json)
        self._legal = (0, *map_names(model.dataset_json))

    def of_folder(
        self, images: Path, predictions: Path, *, only: Collection[str] | None = None, show_progress: bool = True
    ) -> list[CaseQuality]:
        """Look at all cases that have an image or a prediction.

        Args:
            images: Folder of images named CASE_0000.nii.gz and so on.
            predictions: Folder of label maps named CASE.nii.gz and so on.
            only: Names of the cases to look at; None: all.
            show_progress: Show a progress bar.

        Returns:
            The cases by name. What is wrong with a case, be it that a file is missing or damaged, is among its reasons.

        Raises:
            UserError: There is no image, or a file's name is wrong.
        """
        ending = self._model.file_ending
        by_name = {case.name: case for case in list_images(images, ending, self._model.channels)}
        mapped = {file.name.removesuffix(ending): file for file in sorted(predictions.glob(f"*{ending}"))}
        mapped = {name: file for name, file in mapped.items() if not file.name.startswith(DOUBLE)}
        names = sorted(name for name in {*by_name, *mapped} if only is None or name in only)
        side = picture_side(len(names))
        found = [
            self._look_at(name, by_name.get(name), mapped.get(name), side)
            for name in tqdm(names, desc="cases", unit="case", disable=not show_progress)
        ]
        _note_equal(found)
        return found

    def _look_at(self, name: str, case: Case | None, file: Path | None, side: int) -> CaseQuality:
        found = CaseQuality(name, unit=next((each.unit for each in self._training), "ml"))
        labels, labels_grid, image, grid = None, None, None, None
        if case is None:
            _fail(found, "prediction without an image of this name")
        else:
            with _noting(found):
                image, grid = self._read_image(case, found)
        if file is None:
            _fail(found, "image without a prediction of this name")
        else:
            with _noting(found):
                labels, labels_grid = self._read_labels(file, grid, found)
        if labels is not None and labels_grid is not None:
            with _noting(found):
                self._compare_labels(found, labels, labels_grid)
        if image is not None and grid is not None:
            with _noting(found):
                self._compare_image(found, image, grid, labels, labels_grid, side)
        return found

    def _compare_labels(self, found: CaseQuality, labels: NDArray[Any], grid: Grid) -> None:
        measured = MeasuredMap.of(labels, grid, self._classes)
        found.unit, found.sizes = measured.unit, {each: of.size for each, of in measured.classes.items()}
        found.reasons += class_reasons(measured, self._training)
        if labels.any():
            found.digest = hashlib.sha256(repr(labels.shape).encode() + labels.tobytes()).hexdigest()

    def _compare_image(
        self,
        found: CaseQuality,
        image: NDArray[Any],
        grid: Grid,
        labels: NDArray[Any] | None,
        labels_grid: Grid | None,
        side: int,
    ) -> None:
        difference = None if labels_grid is None else labels_grid.difference(grid)
        if difference is not None:
            found.reasons.append(Reason("geometry", f"prediction is not on the grid of its image: {difference}"))
        # a label map of the same shape is drawn as it lies in the file
        fits = labels is not None and labels.shape == image.shape[1:]
        found.reasons += image_reasons(
            image,
            grid,
            self._model.fingerprint,
            foreground=labels > 0 if fits and labels is not None else None,
            normalization=self._model.normalization,
            orientations=self._orientations,
        )
        strongest = next((each for each in found.strongest_first() if each.class_name is not None), None)
        value = self._classes.get(strongest.class_name, ()) if strongest and strongest.class_name else ()
        focus = value if isinstance(value, tuple) else (value,)
        found.picture = picture(image[0], labels if fits else None, grid, focus=focus, side=side)

    def _read_image(self, case: Case, found: CaseQuality) -> tuple[NDArray[Any], Grid]:
        """Read all channels; those on another grid than the first are left out, for a reason."""
        read = [read_image(self._reader, file) for file in case.images]
        grids = [
            Grid.of(array.shape[1:], properties, str(file))
            for file, (array, properties) in zip(case.images, read, strict=True)
        ]
        channels = []
        for file, (array, _), grid in zip(case.images, read, grids, strict=True):
            check_finite(file, array)
            difference = grid.difference(grids[0])
            if difference is None:
                channels.append(array)
            else:
                of_first = difference.replace("the image", "the first channel")
                found.reasons.append(Reason("geometry", f"{file.name} is not on the grid of channel 0: {of_first}"))
        return np.concatenate(channels), grids[0]

    def _read_labels(self, file: Path, image: Grid | None, found: CaseQuality) -> tuple[NDArray[Any], Grid]:
        """Read a label map; values that are no label of the model become background, for a reason."""
        read, properties = read_image(self._reader, file, label=True)
        if image is not None and not knows_spacing(file):
            properties = properties | {"spacing": image.spacing}
        known = np.isin(read[0], self._legal)
        if not known.all():
            values = np.unique(read[0][~known])
            listed = ", ".join(amount(float(value)) for value in values[:5]) + (" ..." if len(values) > 5 else "")
            found.reasons.append(
                Reason(
                    "labels",
                    f"prediction has values that are no label of the model: {listed} in {int((~known).sum())} voxels",
                )
            )
        labels = np.where(known, read[0], 0).astype(np.int32)
        return labels, Grid.of(labels.shape, properties, str(file))


def _fail(found: CaseQuality, text: str) -> None:
    found.failed = True
    found.reasons.append(Reason("file", text))


@contextlib.contextmanager
def _noting(found: CaseQuality) -> Iterator[None]:
    """Note what is wrong with a file: the rest of the case, and other cases, go on."""
    try:
        yield
    except Exception as error:
        logger.error("case %s: %s", found.name, one_line(error))
        logger.debug("case %s", found.name, exc_info=True)
        _fail(found, one_line(error))


def _note_equal(cases: Sequence[CaseQuality]) -> None:
    """Two images never have the same mask: one of them has that of another case."""
    by_digest: dict[str, list[CaseQuality]] = defaultdict(list)
    for case in cases:
        if case.digest is not None:
            by_digest[case.digest].append(case)
    for equal in by_digest.values():
        for case in equal if len(equal) > 1 else ():
            others = [other.name for other in equal if other is not case]
            case.reasons.append(Reason("copy", f"the same label map as {', '.join(others[:5])}"))
