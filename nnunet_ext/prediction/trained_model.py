"""A trained model of nnU-Net's, read from its folder or from the zip file that ``nnUNetv2_export_model_to_zip`` wrote.

nnU-Net's predictor is not used: packages such as TotalSegmentator replace its methods in the whole process.
"""

from __future__ import annotations

import copy
import inspect
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.label_handling.label_handling import LabelManager, determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor, nn
from torch._dynamo import OptimizedModule

from nnunet_ext import sockets
from nnunet_ext.base.checkpoints import read_trained
from nnunet_ext.base.knobs import resolve
from nnunet_ext.data.dataset_json import is_collection
from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration, Resampling
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.files.json_file import read_object
from nnunet_ext.foreign.class_names import check_class_names
from nnunet_ext.prediction.model_zip import unpack_model
from nnunet_ext.strategies.augments import KNOB, Augments
from nnunet_ext.weights.topology import first_difference

logger = logging.getLogger(__name__)


@dataclass
class TrainedModel:
    """What prediction needs of a model; :meth:`load` reads it.

    Args:
        plans_manager: Its plans.
        configuration: Its configuration, with our resamplers where they give nnU-Net's results.
        configuration_name: The configuration's name in the plans.
        dataset_json: Its dataset.json.
        label_manager: Its labels.
        network: The network without deep supervision, on the CPU, with the weights of the first fold.
        parameters: Weights of each fold, on the CPU.
        mirroring_axes: Axes, of those of a patch, along which the training mirrored; None: no mirroring.
        channels: Channels of the network's input.
        folds: Name of each fold, such as ``"0"``.
        trainer_name: The trainer of the first fold.
        missing_channels: Numbers of the channels that images to predict do not have.
        unpacked: The temporary folder that a zip file was unpacked into; deleted with the model.
    """

    plans_manager: PlansManager
    configuration: FastConfiguration
    configuration_name: str
    dataset_json: dict[str, Any]
    label_manager: LabelManager
    network: nn.Module
    parameters: list[dict[str, Tensor]]
    mirroring_axes: tuple[int, ...] | None
    channels: int
    folds: list[str]
    trainer_name: str
    missing_channels: tuple[int, ...] = ()
    unpacked: TemporaryDirectory[str] | None = None

    @classmethod
    def load(
        cls,
        model: Path,
        folds: Sequence[int | str] | None = None,
        checkpoint: str = "checkpoint_final.pth",
        *,
        collection: bool = False,
        trust: bool = False,
    ) -> TrainedModel:
        """Read a model.

        Args:
            model: Folder ``TRAINER__PLANS__CONFIGURATION``, or a zip file with one.
            folds: Folds whose logits are averaged; None: all that have this checkpoint, as nnU-Net finds them.
            checkpoint: Name of the checkpoint.
            collection: Also read the model of a collection, whose labels are those of no task.
            trust: Let checkpoints and plans run the code that they name; only for models whose maker you know.

        Raises:
            UserError: Something of the model is missing or damaged, weights do not fit its network, it asks for what
                may run code, or it is that of a collection and must not be.
        """
        unpacked = None
        if model.is_file():
            unpacked = TemporaryDirectory(prefix="nnunet_ext_model_")
            model = unpack_model(model, Path(unpacked.name), checkpoint)
        for file in (model / "plans.json", model / "dataset.json"):
            if not file.is_file():
                raise UserError(
                    f"{file}: expected that of a trained model, found no file. Give the folder that holds fold_0."
                )
        dataset_json = read_object(model / "dataset.json")
        if is_collection(dataset_json) and not collection:
            raise UserError(
                f"{model}: expected the model of one dataset, found that of a collection. Give a task's view of it."
            )
        files = _checkpoint_files(model, folds, checkpoint)
        checkpoints = [read_trained(file, trust=trust) for file in files]
        planned = read_object(model / "plans.json")
        if not trust:
            check_class_names(planned, model / "plans.json")
        name = checkpoints[0]["init_args"]["configuration"]
        if name not in (known := planned.get("configurations", {})):
            raise UserError(
                f"{files[0]}: expected a configuration of the model's plans.json ({', '.join(map(str, known))}), found "
                f"{name!r}. Restore the files that belong to this training."
            )
        plans = PlansManager(planned)
        configuration = FastConfiguration.of(plans.get_configuration(name))
        labels = plans.get_label_manager(dataset_json)
        channels = determine_num_input_channels(plans, configuration, dataset_json)
        trainer = checkpoints[0]["trainer_name"]
        network = _built(trainer, plans, configuration, channels, labels.num_segmentation_heads, model)
        # copies: a checkpoint is mapped into memory, and nnU-Net's trainers write into the same file again
        parameters: list[dict[str, Tensor]] = [copy.deepcopy(each["network_weights"]) for each in checkpoints]
        for file, weights in reversed(list(zip(files, parameters, strict=True))):  # the first fold's stay
            _load_weights(network, weights, file)
        axes = checkpoints[0].get("inference_allowed_mirroring_axes")
        return cls(
            plans,
            configuration,
            name,
            dataset_json,
            labels,
            _compiled(network),
            parameters,
            None if axes is None else tuple(axes),
            channels,
            [file.parent.name.removeprefix("fold_") for file in files],
            checkpoints[0]["trainer_name"],
            unpacked=unpacked,
        )

    @property
    def file_ending(self) -> str:
        """Ending of images and label maps, such as ``.nii.gz``."""
        return str(self.dataset_json["file_ending"])

    @property
    def channel_dropout(self) -> float:
        """With which probability a sample lost a channel in training; 0 if the trainer does not know that knob."""
        knows = issubclass(_trainer(self.trainer_name), Augments)
        return resolve(self.plans_manager.plans, self.configuration_name)[KNOB] if knows else 0.0

    def export_resampling(self, spacing: Sequence[float]) -> Resampling:
        """Return how nnU-Net resamples logits to an image's grid, by the axes of a preprocessed image.

        Args:
            spacing: Voxel size of the image in mm, in the axis order in which it was read.
        """
        steps = [spacing[axis] for axis in self.plans_manager.transpose_forward]
        planned = list(self.configuration.spacing)
        if len(planned) == 2:  # slices keep their distance
            planned = [steps[0], *planned]
        return self.configuration.planned_resampling("probabilities", planned, steps)

    def use(self, parameters: dict[str, Tensor]) -> None:
        """Put the weights of a fold into the network."""
        network = self.network._orig_mod if isinstance(self.network, OptimizedModule) else self.network
        network.load_state_dict(parameters)


def trained_folds(model: Path, checkpoint: str) -> list[str]:
    """Return the folds that are used if none are named, as nnU-Net finds them; ``all`` only where there is no other.

    Folders with other names, such as ``fold_0_backup``, are no folds.

    Args:
        model: Folder ``TRAINER__PLANS__CONFIGURATION``.
        checkpoint: Name of the checkpoint that they have.

    Returns:
        Names such as ``"0"``, in nnU-Net's order, on which the last bit of the folds' average depends: 10 before 2.
    """
    names = _all_trained(model, checkpoint)
    return [name for name in names if name != "all"] or names


def _all_trained(model: Path, checkpoint: str) -> list[str]:
    folders = sorted(file.parent.name for file in model.glob(f"fold_*/{checkpoint}") if file.is_file())
    return [folder.removeprefix("fold_") for folder in folders if re.fullmatch("fold_([0-9]+|all)", folder)]


def _checkpoint_files(model: Path, folds: Sequence[int | str] | None, checkpoint: str) -> list[Path]:
    if folds is None:
        folds = trained_folds(model, checkpoint)
        if not folds:
            raise UserError(f"{model}: expected a fold with {checkpoint}, found none. Finish a training first.")
    else:
        names = _all_trained(model, checkpoint)
        if len(folds) == 0:
            raise UserError(f"{model}: expected at least one fold, got none. Give folds such as 0.")
        for fold in folds:
            if str(fold) not in names:
                raise UserError(
                    f"{model / f'fold_{fold}' / checkpoint}: expected the checkpoint of fold {fold}, found no file. "
                    f"Trained: {', '.join(names) or 'none'}."
                )
    return [model / f"fold_{fold}" / checkpoint for fold in folds]


def _load_weights(network: nn.Module, weights: dict[str, Tensor], file: Path) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"{file}: expected weights of the network of the model's plans.json and dataset.json, found "
            f"{first_difference(network.state_dict(), weights) or one_line(error, last=True)}. Restore the files that "
            f"belong to this training, or name other folds."
        ) from error


def _built(
    trainer_name: str, plans: PlansManager, configuration: FastConfiguration, channels: int, heads: int, model: Path
) -> nn.Module:
    """Build the network.

    Raises:
        UserError: Its class is not installed, or takes other arguments.
    """
    try:
        return _build(trainer_name, plans, configuration, channels, heads)
    except ImportError as error:
        raise UserError(
            f"{model}: expected the network class of its plans, got {one_line(error)}. Install the package that it "
            f"belongs to."
        ) from error
    except (TypeError, KeyError, AssertionError, ValueError, AttributeError, IndexError) as error:
        raise UserError(
            f"{model}: expected a network that {trainer_name} can build from its plans, got "
            f"{type(error).__name__}: {one_line(error)}. Install the version that the model was trained with, or "
            f"correct its plans."
        ) from error


def _build(
    trainer_name: str, plans: PlansManager, configuration: FastConfiguration, channels: int, heads: int
) -> nn.Module:
    build: Callable[..., nn.Module] = _trainer(trainer_name).build_network_architecture
    if "plans_manager" in inspect.signature(build).parameters:
        return build(plans, configuration, channels, heads, enable_deep_supervision=False)
    return build(  # before nnU-Net 2.7
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        channels,
        heads,
        enable_deep_supervision=False,
    )


def _trainer(name: str) -> Any:
    if name in sockets.names("trainers"):  # also where nnUNet_extTrainer is not set
        return sockets.load("trainers", name)
    try:
        return recursive_find_trainer_class_by_name(name)
    except RuntimeError as error:
        raise UserError(
            f"trainer {name!r} of the checkpoint: expected nnU-Net to find it, got {one_line(error)}. Install the "
            f"package that it belongs to, and set nnUNet_extTrainer to its folder."
        ) from error


def _compiled(network: nn.Module) -> nn.Module:
    """Compile where nnU-Net would."""
    if os.environ.get("nnUNet_compile", "").lower() not in ("true", "1", "t") or isinstance(network, OptimizedModule):
        return network
    logger.info("the network is compiled, because nnUNet_compile is set")
    return cast(nn.Module, torch.compile(network))
