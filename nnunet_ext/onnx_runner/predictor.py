"""Prediction with an exported model: arrays in memory, and folders of images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nnunet_ext.data.image_case import Case
from nnunet_ext.data.raw_dataset import list_images
from nnunet_ext.errors import UserError, nearest, one_line
from nnunet_ext.files.json_file import write_json
from nnunet_ext.files.label_file import write_label_map
from nnunet_ext.onnx_runner.image_io import READERS, ImageIO, read_case
from nnunet_ext.onnx_runner.model_description import FILE, ModelDescription
from nnunet_ext.onnx_runner.normalization import SCHEMES
from nnunet_ext.onnx_runner.preprocessing import ImageLabels, Preprocessed, preprocess
from nnunet_ext.onnx_runner.sliding_window import Progress, SlidingWindow
from nnunet_ext.processes.made_ahead import made_ahead

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _ReadCase:
    preprocessed: Preprocessed
    properties: dict[str, Any]


class OnnxPredictor:
    """Predicts with a model that ``nnunet_ext export_onnx`` wrote; neither torch nor nnU-Net is needed.

    Labels are those of nnU-Net, but where two logits differ by less than onnxruntime's rounding. Use it from one thread
    at a time.

    Args:
        folder: The exported model.
        folds: Folds whose logits are averaged, such as ``("0", "1")``; None: all that were exported.
        step_size: Step of the sliding window in patches; None: the model's.
        mirroring: Average over the mirrorings that the training used.
        threads: Of onnxruntime; None: as many as there are cores.

    Raises:
        UserError: The model is missing, damaged or incomplete, or an argument is wrong.

    Example:
        >>> from nnunet_ext.onnx_runner.predictor import OnnxPredictor
        >>> predictor = OnnxPredictor("liver_onnx")  # doctest: +SKIP
        >>> labels = predictor.predict_array(image, spacing=(1.0, 0.8, 0.8))  # doctest: +SKIP
        >>> done, failed = predictor.predict_folder("imagesTs", "predictions")  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | Path,
        folds: Sequence[str] | None = None,
        *,
        step_size: float | None = None,
        mirroring: bool = True,
        threads: int | None = None,
    ) -> None:
        folder = Path(folder)
        self.model = ModelDescription.read(folder)
        _check_names(folder, self.model)
        self._reader: ImageIO = READERS[self.model.reader]()
        self._window = SlidingWindow(
            self.model.network_files(folder, folds),
            self.model,
            step_size=self.model.step_size if step_size is None else step_size,
            mirroring=mirroring,
            threads=threads,
        )

    def predict_array(self, image: NDArray[Any], spacing: Sequence[float]) -> NDArray[np.integer]:
        """Predict an image in memory.

        Args:
            image: (C, D, H, W), axes in the order in which the model's reader returns them (for most models the last
                axis is X), intensities as in the files.
            spacing: Voxel size of D, H, W in mm.

        Returns:
            Labels (D, H, W), uint8, or uint16 from 255 foreground labels on.

        Raises:
            UserError: The image or the spacing has another form than expected.
        """
        channels = len(self.model.channel_names)
        if image.ndim != 4 or 0 in image.shape or len(image) != channels:
            raise UserError(
                f"image: expected the shape (C, D, H, W) with {channels} channel{'s' * (channels > 1)}, got "
                f"{image.shape}. Add or drop an axis, or give the model's channels."
            )
        if len(spacing) != 3 or not all(np.isfinite(step) and step > 0 for step in spacing):
            raise UserError(f"spacing: expected three positive numbers, D, H, W in mm, got {spacing!r}. Correct it.")
        return self._labels(preprocess(image, spacing, self.model), None)

    def predict_folder(
        self, images: str | Path, output: str | Path, *, overwrite: bool = True, show_progress: bool = True
    ) -> tuple[list[str], dict[str, str]]:
        """Predict all cases of a folder; one that fails is logged in one line, and the others go on.

        Args:
            images: Folder of images named CASE_0000.nii.gz and so on.
            output: Folder for the label maps, and for a dataset.json that says what they mean; made if it is not there.
            overwrite: Predict cases again that have a label map.
            show_progress: Show bars over cases and over the windows of a case.

        Returns:
            The names of the cases that were predicted, and of those that failed with the problem, in one line.

        Raises:
            UserError: There is no image, a file's name is wrong, or the output cannot be written.
        """
        images, output = Path(images), Path(output)
        cases = list_images(images, self.model.file_ending, self._files_of_case(images))
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "dataset.json", self.model.metadata())
        targets = {case.name: output / f"{case.name}{self.model.file_ending}" for case in cases}
        wanted = [case for case in cases if overwrite or not targets[case.name].is_file()]
        done: list[str] = []
        problems: dict[str, str] = {}
        with (
            tqdm(total=len(wanted), desc="cases", unit="case", disable=not show_progress) as bar,
            closing(made_ahead(self._read, wanted)) as prepared,
        ):
            for case, made in zip(wanted, prepared, strict=True):
                with _noting(case.name, problems):
                    read = made()
                    with _window_bar(case.name, show_progress) as progress:
                        labels = self._labels(read.preprocessed, progress)
                    write_label_map(self._reader, labels, targets[case.name], read.properties)
                    done.append(case.name)
                bar.update()
        return done, problems

    def _files_of_case(self, images: Path) -> int:
        """How many files a case has: one for each channel, but for colours, which are channels of one file."""
        channels = len(self.model.channel_names)
        if self.model.reader == "NaturalImage2DIO" and not any(images.glob(f"*_0001{self.model.file_ending}")):
            return 1
        return channels

    def _read(self, case: Case) -> _ReadCase:
        image, properties = read_case(self._reader, case.images, len(self.model.channel_names))
        return _ReadCase(preprocess(image, properties["spacing"], self.model), properties)

    def _labels(self, case: Preprocessed, progress: Progress | None) -> NDArray[np.integer]:
        labels = ImageLabels(case, self.model)
        for slab in self._window.slabs(case.image, progress):
            labels.add(slab)
        return labels.finish()


def _check_names(folder: Path, model: ModelDescription) -> None:
    """Refuse a description that names what this version does not have."""
    named = [("reader", model.reader, list(READERS))]
    named += [("normalization", each.scheme, list(SCHEMES)) for each in model.normalization]
    for entry, name, legal in named:
        if name not in legal:
            raise UserError(
                f"{folder / FILE}: expected a {entry} that this version has, found {name!r}. "
                f"{nearest(name, legal)} Use a newer nnunet_ext."
            )


@contextmanager
def _noting(name: str, problems: dict[str, str]) -> Iterator[None]:
    """Note the error that a case ends with: whatever is wrong with one case must not end the prediction of others."""
    try:
        yield
    except Exception as error:
        problems[name] = one_line(error)
        logger.error("case %s was not predicted: %s", name, problems[name])
        logger.debug("case %s", name, exc_info=True)


@contextmanager
def _window_bar(name: str, show: bool) -> Iterator[Progress]:
    with tqdm(desc=name, unit="window", leave=False, position=1, disable=not show) as bar:

        def progress(done: int, windows: int) -> None:
            bar.total = windows
            bar.update(done - bar.n)

        yield progress
