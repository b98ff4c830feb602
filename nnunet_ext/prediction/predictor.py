"""Prediction from Python: a model that stays loaded, for arrays, files and folders."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from nnunet_ext.data.image_case import Case
from nnunet_ext.data.preprocessed.fast_configuration import resampled_by
from nnunet_ext.data.raw_dataset import list_images
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import write_json
from nnunet_ext.prediction.cases import CaseResult, predict_cases
from nnunet_ext.prediction.missing_channels import missing_channels as numbers_of
from nnunet_ext.prediction.sliding_window import SlidingWindow
from nnunet_ext.prediction.stages import Stages
from nnunet_ext.prediction.stock_reasons import reason_for_stock
from nnunet_ext.prediction.trained_model import TrainedModel
from nnunet_ext.stock.entry_points import check_device
from nnunet_ext.stock.folders import check_writable
from nnunet_ext.strategies.augments import KNOB

logger = logging.getLogger(__name__)
DEVICES = ("cpu", "cuda", "mps")


class Predictor:
    """Predicts with a trained model of nnU-Net's, stock or ours: the labels of ``nnUNetv2_predict``, in less memory.

    The labels equal nnU-Net's apart from voxels where two logits differ by no more than fp16 resolves. Use one
    predictor for all images, and from one thread at a time.

    Args:
        model: Folder ``TRAINER__PLANS__CONFIGURATION`` in nnUNet_results, of a dataset or of a task's view; or a zip
            file of one model by ``nnUNetv2_export_model_to_zip``.
        folds: Folds whose logits are averaged, such as ``(0, 1)`` or ``("all",)``; None: all that are trained.
        checkpoint: Name of the checkpoint.
        device: ``"cpu"``, ``"cuda"`` or ``"mps"``.
        step_size: Step of the sliding window in patches: above 0, at most 1.
        mirroring: Average over the mirrorings that the training used. Without, a 3d prediction takes an eighth of the
            time, and its labels differ.
        on_device: On a GPU, keep image and sums of logits there while they fit.
        trust: Let the model run the code that its files name; only for models whose maker you know.
        missing_channels: Numbers or names of channels that images do not have; the network sees them as a training
            with the knob ``channel_dropout`` fills lost ones.

    Raises:
        UserError: The model is missing, damaged, asks for what may run code, or needs nnU-Net's own command (a
            cascade, another resampler in the plans); or an argument is wrong.

    Example:
        >>> from nnunet_ext.prediction import Predictor
        >>> folder = "nnUNet_results/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres"
        >>> predictor = Predictor(folder, folds=(0,), device="cpu")  # doctest: +SKIP
        >>> labels = predictor.predict_array(image, spacing=(1.0, 1.0, 1.0))  # doctest: +SKIP
        >>> predictor.predict_files(["case_0000.nii.gz"], "case.nii.gz")  # doctest: +SKIP
        >>> results = predictor.predict_folder("imagesTs", "predictions")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path,
        folds: Sequence[int | str] | None = None,
        checkpoint: str = "checkpoint_final.pth",
        *,
        device: str = "cuda",
        step_size: float = 0.5,
        mirroring: bool = True,
        on_device: bool = True,
        trust: bool = False,
        missing_channels: Sequence[int | str] = (),
    ) -> None:
        if device not in DEVICES:
            raise UserError(f"device: expected {', '.join(DEVICES)}, got {device!r}. Choose one.")
        check_device(device)
        self.model = TrainedModel.load(Path(model), folds, checkpoint, trust=trust)
        plans = self.model.plans_manager.plans
        reason = reason_for_stock(plans, self.model.dataset_json, self.model.configuration_name)
        if reason is not None:
            raise UserError(f"{model}: expected a model that nnunet_ext predicts, but {reason}. Use nnUNetv2_predict.")
        self.model.missing_channels = numbers_of(missing_channels, self.model.dataset_json)
        if self.model.missing_channels and not self.model.channel_dropout:
            logger.warning(
                "the model was trained without the knob %s: without a channel its labels may be of no use", KNOB
            )
        logger.info("%s", resampled_by(self.model.configuration, purposes=("data",)))
        window = SlidingWindow(self.model, torch.device(device), step_size=step_size, mirroring=mirroring)
        self._stages = Stages(window, on_device and device != "mps")

    def predict_array(self, image: NDArray[Any], spacing: Sequence[float]) -> NDArray[Any]:
        """Predict an image in memory.

        Args:
            image: (C, D, H, W) without missing channels, axes in the order in which the reader of the model's plans
                returns them (SimpleITK's for most models: the last axis is X), intensities as in the files.
            spacing: Voxel size of D, H, W in mm.

        Returns:
            Labels (D, H, W), uint8, or uint16 from 255 foreground labels on.

        Raises:
            UserError: The image or the spacing has another form than expected.
        """
        return self._stages.label(self._stages.prepare_array(image, spacing)).labels

    def predict_files(self, images: Sequence[str | Path], output: str | Path) -> None:
        """Predict a case in files and write its label map.

        Args:
            images: One file for each channel that is not missing, in the order of dataset.json.
            output: The label map, with the file ending of the model's dataset; its folder is made if it is not there.

        Raises:
            UserError: A file is missing or damaged, has another number of channels, or another ending is expected; or
                the output's folder cannot be written.
        """
        output = Path(output)
        ending = self.model.file_ending
        for file in (*map(Path, images), output):
            if not file.name.endswith(ending):
                raise UserError(f"{file}: expected a file that ends in {ending}, as the model's dataset. Convert it.")
        if not images:
            raise UserError("images: expected one file for each channel, got none. Name them.")
        check_writable(output.parent, str(output.parent))
        case = self._stages.prepare([Path(file) for file in images])
        self._stages.write(self._stages.label(case).labels, case.properties, output)

    def predict_folder(
        self,
        images: str | Path,
        output: str | Path,
        *,
        only: Collection[str] | None = None,
        overwrite: bool = True,
        parts: int = 1,
        part: int = 0,
        read_ahead: bool = True,
        write_behind: bool = True,
        check: bool = True,
        show_progress: bool = True,
        record: dict[str, Any] | None = None,
    ) -> list[CaseResult]:
        """Predict all cases of a folder, and write the JSON files that nnU-Net writes beside its label maps.

        Args:
            images: Folder of images named CASE_0000.nii.gz and so on.
            output: Folder for the label maps; made if it is not there.
            only: Names of the cases to predict; None: all.
            overwrite: Predict cases again that have a label map.
            parts: Of how many calls, which share the cases, this is one.
            part: Which of them, from 0.
            read_ahead: Read the next case, in a thread, while the network works.
            write_behind: Write the last label map, in a thread, while the network works.
            check: Refuse NIfTI files that are cut off or hold NaN.
            show_progress: Show progress bars.
            record: Further entries of predict_from_raw_data_args.json.

        Returns:
            A result for each case that was predicted; ``problem`` of one that failed says why.

        Raises:
            UserError: There is no image, a file's name is wrong, or the output cannot be written.
        """
        if not 0 <= part < parts:
            raise UserError(f"part: expected a number from 0 to {parts - 1}, got {part}. Correct it.")
        images, output = Path(images), Path(output)
        channels = len(self.model.dataset_json.get("channel_names", self.model.dataset_json.get("modality", ())))
        cases = list_images(images, self.model.file_ending, channels, self.model.missing_channels)
        cases = [case for case in cases if only is None or case.name in only][part::parts]
        check_writable(output, str(output))
        self._describe(images, output, overwrite=overwrite, parts=parts, part=part, record=record or {})

        def file_of(case: Case) -> Path:
            return output / f"{case.name}{self.model.file_ending}"

        wanted = [case for case in cases if overwrite or not file_of(case).is_file()]
        return predict_cases(
            replace(self._stages, check=check),
            wanted,
            file_of,
            read_ahead=read_ahead,
            write_behind=write_behind,
            show_progress=show_progress,
        )

    def _describe(
        self, images: Path, output: Path, *, overwrite: bool, parts: int, part: int, record: dict[str, Any]
    ) -> None:
        """Write what nnU-Net writes, under its names."""
        arguments = {
            "list_of_lists_or_source_folder": str(images),
            "output_folder_or_list_of_truncated_output_files": str(output),
            "save_probabilities": False,
            "overwrite": overwrite,
            "folder_with_segs_from_prev_stage": None,
            "num_parts": parts,
            "part_id": part,
        }
        if self.model.missing_channels:
            record = record | {"missing_channels": self.model.missing_channels}
        write_json(output / "predict_from_raw_data_args.json", arguments | record)
        write_json(output / "dataset.json", self.model.dataset_json)
        write_json(output / "plans.json", self.model.plans_manager.plans)
