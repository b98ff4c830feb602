"""nnU-Net's trainer with pseudo-labels: train, predict the unlabelled images, train anew on both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any, cast

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from torch import distributed
from tqdm import tqdm

from nnunet_ext.base.data_marker import DataMarker
from nnunet_ext.errors import UserError
from nnunet_ext.pseudo_label.loss import PseudoLabelLoss
from nnunet_ext.pseudo_label.pseudo_label_folder import PseudoLabelFolder
from nnunet_ext.pseudo_label.pseudo_labelled import PseudoLabelled
from nnunet_ext.pseudo_label.restarted_poly_lr import RestartedPolyLR
from nnunet_ext.unlabelled.preprocessing import check_unlabelled, unlabelled_folder
from nnunet_ext.unlabelled.trainer import SemiSupervisedTrainer


class PseudoLabelTrainer(SemiSupervisedTrainer):
    """The practical baseline of semi-supervised training, in one run, on any nnU-Net plans.

    1. The first epochs (knob ``supervised_share``) are stock nnU-Net on the labelled cases.
    2. The network predicts all unlabelled cases, as nnU-Net predicts (sliding window, mirroring). The label maps lie in
       the fold's folder, ``pseudo_labels``.
    3. The weights that the training began with, a new optimiser and a new decay of the learning rate: the other epochs
       train on labelled and pseudo-labelled samples. A pseudo-labelled patch is cropped, augmented and oversampled in
       the foreground as a labelled one is, with its labels.

    The network is the plans' own and its checkpoints load into stock nnU-Net. ``checkpoint_best`` is the best of the
    last part once that has begun. A run that was killed goes on where it was, in the prediction case by case.

    Knobs (plans blocks ``nnunet_ext.pseudo_label`` and ``nnunet_ext.unlabelled``): ``supervised_share``,
    ``pseudo_label_weight``; ``batch_size``.

    Avoided: unlabelled cases that train as background because they have no label; patches whose labels are those of
    another crop; a second part that is shorter than it seems, because it goes on with the first one's learning rate.

    Raises:
        UserError: The pseudo-labels that a training goes on with are gone or changed, or the unlabelled cases are.
    """

    loss_parts = ("supervised_loss", "pseudo_label_loss")
    loss: PseudoLabelLoss
    unlabelled_entries = (("unlabelled", "data"), ("pseudo_target", "target"))
    _first_weights: dict[str, torch.Tensor] | None = None
    _labelled_by: str | None = None  # digest of the network whose pseudo-labels are trained on

    @property
    def supervised_epochs(self) -> int:
        """Number of epochs before the prediction: at least one, and all but one at most."""
        share = self.knobs["pseudo_label"]["supervised_share"]
        return max(1, min(round(share * self.num_epochs), self.num_epochs - 1))

    @property
    def pseudo_labels(self) -> PseudoLabelFolder:
        """Where the pseudo-labels are."""
        return PseudoLabelFolder(Path(self.output_folder) / "pseudo_labels")

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, RestartedPolyLR]:
        """Stock optimiser; its learning rate decays in each part."""
        optimizer, _ = super().configure_optimizers()
        lengths = (self.supervised_epochs, self.num_epochs - self.supervised_epochs)
        return optimizer, RestartedPolyLR(optimizer, self.initial_lr, lengths)

    def _build_loss(self) -> PseudoLabelLoss:
        return PseudoLabelLoss(super()._build_loss(), self.knobs["pseudo_label"]["pseudo_label_weight"])

    # loading

    @property
    def _needs_pseudo_labels(self) -> bool:
        return self._labelled_by is not None and self.current_epoch < self.num_epochs

    def _unlabelled_loader(self, folder: Path, cases: list[str]) -> nnUNetDataLoader:
        loader = super()._unlabelled_loader(folder, cases)
        if self._needs_pseudo_labels:
            self._check_pseudo_labels(cases)
            loader._data = PseudoLabelled(folder, cases, self.pseudo_labels)
        return loader

    def _check_pseudo_labels(self, cases: list[str]) -> None:
        marker = self.pseudo_labels.marker
        problem = marker.problem(str(self._labelled_by))
        if problem is None and marker.cases() != cases:
            problem = "found those of other unlabelled cases: some were added or removed since"
        if problem is not None:
            raise UserError(
                f"{self.pseudo_labels.place}: expected the pseudo-labels that this training began with, {problem}. "
                f"Restore them, or train anew, without --c."
            )

    def _pool(self, labelled: nnUNetDataLoader, unlabelled: nnUNetDataLoader | None, *rest: Any) -> Any:
        if not self._needs_pseudo_labels:
            unlabelled = None
        if unlabelled is not None:
            unlabelled.transforms = labelled.transforms  # one for images and labels
            unlabelled.oversample_foreground_percent = self.oversample_foreground_percent
        return super()._pool(labelled, unlabelled, *rest)

    # training

    def on_train_start(self) -> None:
        """Prepare as stock does; a new training notes its weights."""
        super().on_train_start()
        if not self._starts_from_checkpoint:
            self._first_weights = {
                name: weight.cpu().clone() for name, weight in self.bare_network.state_dict().items()
            }
        if self.num_epochs == 1:
            self.print_to_log_file("WARNING: one epoch trains on labelled images only, set the knob num_epochs higher")

    def on_epoch_start(self) -> None:
        """After the first part, predict and begin anew, which counts as time of the epoch that follows."""
        start = time()
        if self.current_epoch == self.supervised_epochs:
            self._stop_workers()
            self._labelled_by = self._predict_unlabelled()
            self._begin_anew()
            self.dataloader_train, self.dataloader_val = self.get_dataloaders()
        super().on_epoch_start()
        self.logger.get_value("epoch_start_timestamps", None)[-1] = start

    def _begin_anew(self) -> None:
        self.bare_network.load_state_dict(cast(dict[str, torch.Tensor], self._first_weights))
        self._first_weights = None
        self.set_deep_supervision_enabled(self.enable_deep_supervision)
        self.optimizer, self.lr_scheduler = self.configure_optimizers()
        self._best_ema = None

    def train_step(self, batch: dict) -> dict:
        """Stock step on the labelled samples, and on the pseudo-labelled ones if there are any."""
        if "pseudo_target" in batch:
            target = batch["pseudo_target"]
            listed = isinstance(target, list)
            scales = [scale.to(self.device, non_blocking=True) for scale in (target if listed else [target])]
            self.loss.expect(scales if listed else scales[0])
        return super().train_step({"unlabelled": batch["data"][:0]} | batch)

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """Log as stock does; the moving average that chooses the best checkpoint begins anew, too."""
        super().on_validation_epoch_end(val_outputs)
        if self.current_epoch == self.supervised_epochs:
            self.logger.get_value("ema_fg_dice", None)[-1] = np.nan_to_num(self.logger.get_value("mean_fg_dice", -1))

    def on_epoch_end(self) -> None:
        """End the epoch as stock does; the first part's last one leaves a checkpoint, for a kill while predicting."""
        save_every = self.save_every
        if self.current_epoch + 1 == self.supervised_epochs:
            self.save_every = 1
        super().on_epoch_end()
        self.save_every = save_every

    # predicting

    def _predict_unlabelled(self) -> str:
        """Predict the cases that are not predicted yet, each rank its share; return the network's digest."""
        data = (Path(self.preprocessed_dataset_folder_base), self.plans_manager.plans, self.configuration_name)
        cases, folder = check_unlabelled(*data), unlabelled_folder(*data)
        digest, marker = self._digest(folder), self.pseudo_labels.marker
        if marker.problem(digest) is None:
            return digest
        self._on_first_rank(self.pseudo_labels.begin, digest)
        missing = [case for case in cases if not self.pseudo_labels.has(case)]
        self._wait()
        self.print_to_log_file(
            f"Predicting {len(missing)} of {len(cases)} unlabelled cases: {self.pseudo_labels.place}"
        )
        self.set_deep_supervision_enabled(False)
        mine = missing[self.local_rank :: distributed.get_world_size()] if self.is_ddp else missing
        dataset, predictor = nnUNetDatasetBlosc2(str(folder), cases), self._predictor()
        for case in tqdm(mine, "predicting unlabelled images", disable=self.local_rank != 0):
            self._predict(case, dataset, predictor)
        self._on_first_rank(self.pseudo_labels.finish, digest)
        return digest

    def _digest(self, folder: Path) -> str:
        """Tell networks, and images, apart."""
        digest = hashlib.sha256(DataMarker(folder).file.read_bytes())
        for name, tensor in self.bare_network.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _predictor(self) -> nnUNetPredictor:
        """nnU-Net's predictor, as in its validation."""
        predictor = nnUNetPredictor(device=self.device, allow_tqdm=False)
        predictor.manual_initialization(
            self.bare_network,
            self.plans_manager,
            self.configuration_manager,
            None,
            self.dataset_json,
            type(self).__name__,
            self.inference_allowed_mirroring_axes,
        )
        return predictor

    def _predict(self, case: str, dataset: nnUNetDatasetBlosc2, predictor: nnUNetPredictor) -> None:
        """Write the pseudo-labels of a case in the form of preprocessed labels: -1 is background outside the body."""
        data, body, _, _ = dataset.load_case(case)
        logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(data[:]))
        labels = self.label_manager.convert_logits_to_segmentation(logits.cpu()).numpy().astype(np.int16)[None]
        labels[(labels == 0) & (body[:] < 0)] = -1
        manager = self.label_manager
        classes = manager.foreground_regions if manager.has_regions else manager.foreground_labels
        preprocessor = self.configuration_manager.preprocessor_class
        locations = preprocessor._sample_foreground_locations(labels, classes)
        self.pseudo_labels.write(case, labels, locations, like=body)

    def _on_first_rank(self, function: Callable[[str], None], digest: str) -> None:
        """Call a function in one process, while the others wait before and after."""
        self._wait()
        if self.local_rank == 0:
            function(digest)
        self._wait()

    def _wait(self) -> None:
        """Wait until all ranks are here."""
        if self.is_ddp:
            distributed.barrier()

    # checkpoints

    def extra_state(self) -> dict[str, Any]:
        """Return the weights to begin anew with, afterwards which pseudo-labels are trained on."""
        own: dict[str, Any] = {"labelled_by": self._labelled_by}
        if self._labelled_by is None:
            own = {"first_weights": self._first_weights}
        return super().extra_state() | own

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`extra_state` returned."""
        super().load_extra_state(state)
        self._labelled_by = state.get("labelled_by")
        weights = state.get("first_weights")
        self._first_weights = None if weights is None else {name: weight.clone() for name, weight in weights.items()}
