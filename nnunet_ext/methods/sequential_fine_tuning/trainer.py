"""The retention stage of sequential fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from torch import Tensor

from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.data.preprocessed.use import use_data
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import write_json
from nnunet_ext.methods.sequential_fine_tuning.architecture import FeatureUNet
from nnunet_ext.methods.sequential_fine_tuning.buffer import Cases, SeveralFolders
from nnunet_ext.methods.sequential_fine_tuning.card import CARD
from nnunet_ext.methods.sequential_fine_tuning.earlier_scores import EarlierScores
from nnunet_ext.methods.sequential_fine_tuning.loss import RetentionLoss, RetentionStep
from nnunet_ext.methods.sequential_fine_tuning.task_data import task_data
from nnunet_ext.methods.sequential_fine_tuning.teachers import Teachers, read_model
from nnunet_ext.methods.sequential_fine_tuning.training_cases import TrainingCases
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.seeding.seeded_blur import steady_blur
from nnunet_ext.seeding.seeds import Purpose
from nnunet_ext.seeding.stepped_loader import SingleLoader
from nnunet_ext.semi_supervised.two_streams import TwoStreams
from nnunet_ext.weights.roles import roles_in
from nnunet_ext.weights.transfer import Transfer

FILE = "earlier_task.json"
TASK_MODEL = "sequential_fine_tuning.task_model"
KEY = "began_with"  # of hashes in the trainer's own part of a checkpoint
MIDDLE = 0.5  # of the interpolation that is scored beside


class SequentialFineTuningTrainer(ExtTrainer):
    """The earlier model takes over what a fine-tuned one learned, and keeps its features on earlier data.

    This is our reading of the retention stage of MedSeqFT [0], which has no public code. The training runs on the
    dataset of the *earlier* task, with its plans and labels: network, validation and the written model are those of the
    earlier task, and stock nnU-Net predicts it. It starts from the earlier model (knob ``init_from``); the model that
    ``FineTuneTrainer`` trained on the new data (knob ``task_model``), whose checkpoint names these data, is the one to
    predict the new task with.

    A batch has patches of the new data, whose features follow the fine-tuned model's, and patches of the buffer, whose
    features follow the earlier model's (:class:`RetentionLoss`). Together they are as many as the plans' batch, at
    least one of each. Labels of training patches are used only to place a third of the patches on foreground, as
    nnU-Net does. By default LoRA's factors and the normalizations train (knob ``fine_tune.strategy``), at 1e-3 with
    AdamW, for 30 epochs; the heads never do.

    At the end, the log and ``earlier_task.json`` hold the earlier task's pseudo Dice of three networks on the same
    validation batches of the fold: the earlier model, the new one, and the interpolation of the earlier and the
    fine-tuned model, which costs nothing and is to be beaten.

    Knobs (plans block ``nnunet_ext.sequential_fine_tuning``): ``task_model``, ``buffer``, ``retention_weight``.

    Raises:
        UserError: A knob is not set; a model of another network, or with channels in another order; a strategy that
            trains the heads alone; new data or cases of the buffer that are not preprocessed; a cascade's second stage;
            a training continued with other models or cases.

    [0] Ye et al., https://arxiv.org/abs/2509.06096
    """

    method: ClassVar = "sequential_fine_tuning"
    recipe: ClassVar = CARD.recipe
    recipe_with: ClassVar = CARD.recipe_with
    default_strategy: ClassVar = "lora"
    keeps_no_classes: ClassVar = "which trains without labels"
    dataloader_val: Any
    _teachers: Teachers | None = None
    _began: Mapping[str, str] = MappingProxyType({})  # hashes of what must be the same when it is continued

    @classmethod
    def network_on(cls, unet: PlainConvUNet | ResidualEncoderUNet, knobs: Mapping[str, Any]) -> FeatureUNet:
        """Let the U-Net show its features in train mode, and freeze its heads."""
        return FeatureUNet(unet)

    def _build_loss(self) -> RetentionLoss:
        return RetentionLoss(super()._build_loss())

    def initialize(self) -> None:
        """Build network, optimizer and loss, after refusing what cannot be trained."""
        if self.is_cascaded:
            raise UserError(
                f"{type(self).__name__}: expected a configuration of one stage, got {self.configuration_name!r}: the "
                f"new data have no predictions of {self.configuration_manager.previous_stage_name!r}. Train 3d_fullres."
            )
        if self.strategy == "head_first":
            raise UserError(
                f"{type(self).__name__}: expected a strategy that leaves the heads as they are, found 'head_first'. "
                f"Set fine_tune.strategy to 'lora', 'all', 'frozen_encoder' or 'layer_wise'."
            )
        super().initialize()

    def on_train_start(self) -> None:
        """Prepare the training; a model of another network is refused before it."""
        for knob, value, what in (
            ("init_from", self.knobs["init_from"], "the earlier model"),
            (TASK_MODEL, self._own["task_model"], "the model that was fine-tuned on the new data"),
        ):
            if value is None:
                raise UserError(
                    f"{type(self).__name__}: expected {what}, found the knob {knob} not set. Set it to its checkpoint."
                )
        super().on_train_start()
        self._check_began("models", self.teachers().digest(), f"the two models of the knobs init_from and {TASK_MODEL}")
        if self.teachers().are_equal():
            self.print_to_log_file(
                f"WARNING: the models of the knobs init_from and {TASK_MODEL} are equal: there is nothing to take over"
            )

    def _check_began(self, key: str, digest: str, what: str) -> None:
        """Refuse to continue with others than those that the training began with."""
        if self._began.get(key, digest) != digest:
            raise UserError(
                f"{self.output_folder}: expected {what}, as the training began with, found others. Restore them, or "
                f"train from scratch (without --c)."
            )
        self._began = {**self._began, key: digest}

    def on_weights_loaded(self, done: Transfer) -> None:
        """Refuse an earlier model of which anything is not taken as it is."""
        super().on_weights_loaded(done)
        other = next((fate for fate in done.fates if fate.kind in ("mapped", "fresh")), None)
        if other is not None:
            raise UserError(
                f"knob 'init_from': expected the network, channels and labels of these plans, found {other.line()!r}. "
                f"Train on the dataset of the earlier model, with its plans."
            )

    @property
    def _own(self) -> dict[str, Any]:
        found: dict[str, Any] = self.knobs[self.method]
        return found

    def _network(self) -> Any:
        """Return a further network of these plans."""
        return self.build_network_architecture(
            self.plans_manager,
            self.configuration_manager,
            self.num_input_channels,
            self.label_manager.num_segmentation_heads,
            self.enable_deep_supervision,
        ).to(self.device)

    def teachers(self) -> Teachers:
        """Return the two models whose features are followed; read from their files when they are first needed."""
        if self._teachers is None:
            files = (self.knobs["init_from"], "init_from"), (self._own["task_model"], TASK_MODEL)
            earlier, task = (read_model(*each)["network_weights"] for each in files)
            self._teachers = Teachers.load((self._network(), self._network()), (earlier, task))
        return self._teachers

    # loading

    def get_dataloaders(self) -> tuple[Any, Any]:
        """New data and buffer for training; stock's validation, of the earlier task."""
        self.teachers()  # refused before the data are read
        cases = self._cases()
        self._check_began("cases", cases.digest(), "the same new data and buffer")
        for group in (*cases.new, *cases.buffer):
            use_data(group.place)
        for line in cases.lines():
            self.print_to_log_file(line)
        _, val = self.bare_loaders()
        of_buffer = max(1, self.batch_size // 2)
        streams = partial(
            TwoStreams,
            self._loader(cases.new, max(1, self.batch_size - of_buffer)),
            self._loader(cases.buffer, of_buffer),
            entries=(("buffer", "data"),),
        )
        return (
            self.pool(streams, Purpose.TRAINING, self.num_iterations_per_epoch),
            self.pool(partial(SingleLoader, val), Purpose.VALIDATION, self.num_val_iterations_per_epoch, share=2),
        )

    def _cases(self) -> TrainingCases:
        own = Path(self.preprocessed_dataset_folder)
        training, validation = (Cases(own, tuple(names)) for names in self.do_split())
        checkpoint = read_model(self._own["task_model"], TASK_MODEL)
        channels = roles_in(self.my_init_kwargs).channels
        task = task_data(checkpoint, Path(self.preprocessed_dataset_folder_base).parent, channels)
        files = self._own["buffer"]
        return TrainingCases.choose(task, [files] if isinstance(files, str) else files, training, validation)

    def _loader(self, groups: Sequence[Cases], batch_size: int) -> nnUNetDataLoader:
        """Return stock's loader and augmentation for cases of any folder."""
        rotation, dummy_2d, initial_patch_size, mirror_axes = (
            self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        patch_size = self.configuration_manager.patch_size
        use_mask = self.configuration_manager.use_mask_for_norm
        transforms = self.get_training_transforms(
            patch_size, rotation, None, mirror_axes, dummy_2d, use_mask_for_norm=use_mask
        )
        if self.knobs["seed"] is not None:
            steady_blur(transforms)
        cases = SeveralFolders(groups)
        cases.check_channels(self.num_input_channels, roles_in(self.my_init_kwargs).channels)
        loader = nnUNetDataLoader(
            cases,
            batch_size,
            initial_patch_size,
            patch_size,
            self.label_manager,
            oversample_foreground_percent=self.oversample_foreground_percent,
            probabilistic_oversampling=True,  # a batch may have one sample
            transforms=transforms,
        )
        loader.has_ignore = False  # else it looks for annotated voxels of the earlier task
        return loader

    # training

    def train_step(self, batch: dict) -> dict:
        """Stock step on the new data's and the buffer's patches."""
        images = [batch[name].to(self.device, non_blocking=True) for name in ("data", "buffer")]
        return super().train_step(batch | {"data": torch.cat(images), "new": len(images[0])})

    def training_step(self, batch: dict) -> RetentionStep:
        """Return the features that the two models have, each of its own samples.

        Args:
            batch: With ``data``, of which the first ``new`` samples (by default all) are new data.
        """
        images = batch["data"].to(self.device, non_blocking=True)
        count = batch.get("new", len(images))
        teachers = self.teachers()
        task = [stage[:count] for stage in self._features(teachers.task, images)]
        earlier = [stage[count:] for stage in self._features(teachers.earlier, images)] if len(images) > count else []
        return RetentionStep(torch.empty(0), task, earlier, self._own["retention_weight"])

    @torch.no_grad()
    def _features(self, teacher: FeatureUNet, images: Tensor) -> list[Tensor]:
        """In the precision of stock steps, mixed on CUDA, full elsewhere, and of the whole batch.

        Batches of another size are rounded otherwise, and AdamW makes large steps of small differences.
        """
        with torch.autocast(self.device.type, enabled=self.device.type == "cuda"):
            return teacher.features(images)

    def on_train_end(self) -> None:
        """Score the earlier task, and finish as stock does."""
        self.current_epoch -= 1  # stock code writes the number of the epoch after this one
        self.save_checkpoint(str(Path(self.output_folder) / "checkpoint_latest.pth"))  # scoring may fail
        self.current_epoch += 1
        self._score_earlier_task()
        super().on_train_end()

    @torch.no_grad()
    def _score_earlier_task(self) -> None:
        """Validate three networks on the same batches, with nnU-Net's own steps."""
        trained, teachers = self.network, self.teachers()
        networks = {
            "earlier model": teachers.earlier,
            "this model": trained,
            f"interpolation {MIDDLE}": teachers.interpolated(self._network(), MIDDLE),
        }
        outputs: dict[str, list[dict]] = {name: [] for name in networks}
        self.on_validation_epoch_start()
        try:
            for _ in range(self.num_val_iterations_per_epoch):
                batch = next(self.dataloader_val)
                for name, network in networks.items():
                    self.network = network
                    outputs[name].append(self.validation_step(batch | {"target": _copy(batch["target"])}))
        finally:
            self.network = trained
        gathered = {
            name: [step for of_rank in Ranks.now().gather(steps) for step in of_rank] for name, steps in outputs.items()
        }
        scores = EarlierScores.of_steps(tuple(foreground_classes(self.dataset_json)), gathered)
        for line in scores.lines():
            self.print_to_log_file(line)
        if Ranks.now().is_first:
            write_json(Path(self.output_folder) / FILE, scores.as_json(), indent=1)

    def extra_state(self) -> dict[str, Any]:
        """Return hashes of the two models and of the cases, which must be the same when the training is continued."""
        return super().extra_state() | {KEY: dict(self._began)}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`extra_state` returned."""
        super().load_extra_state(state)
        self._began = dict(state.get(KEY, {}))


def _copy(target: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    """Stock's validation step writes into the target."""
    return [scale.clone() for scale in target] if isinstance(target, list) else target.clone()
