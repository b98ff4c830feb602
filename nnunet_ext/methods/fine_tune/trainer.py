"""nnU-Net's trainer for a model that is trained already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from tqdm import tqdm

from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.evaluation.pseudo_dice import pseudo_dice
from nnunet_ext.files.json_file import write_json
from nnunet_ext.methods.fine_tune.card import CARD
from nnunet_ext.methods.fine_tune.guard import AGREEMENT, START, Guard
from nnunet_ext.methods.fine_tune.pretrains_new import PretrainsNew
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.weights.class_matching import matched_roles
from nnunet_ext.weights.roles import Roles, roles_in
from nnunet_ext.weights.transfer import Transfer

FILE = "fine_tuning.json"
KEY = "start"  # of the guard in the trainer's own part of a checkpoint


class FineTuneTrainer(PretrainsNew):
    """Stock network and loss, from the checkpoint of the knob ``init_from``; by default a short, careful training.

    What the plans do not set: SGD at 1e-3, or AdamW at 1e-4 if they name it; 150 epochs, a warm-up in the first 15.
    That is nnU-Net's own recipe for pretrained networks [0] (lr 1e-3 instead of 1e-2, 15 epochs of warm-up in its
    schedule of 150; its Primus networks have AdamW at 1e-4); UniSeg fine-tunes in 100 epochs. What is trained is the
    knob ``fine_tune.strategy``.

    Before the first epoch the start is scored as after an epoch: nnU-Net's pseudo Dice on as many validation batches,
    with the knob ``seed`` the very ones of the first epoch. If the source knows a class, the start is kept as
    ``checkpoint_start.pth``. At the end, the log and ``fine_tuning.json`` say for each class what it was before, and
    what it is in the final and in the best checkpoint; a warning tells if either is worse than the start, in the mean
    over the classes that the source knew. Classes that the knob ``fine_tune.keep_unannotated`` fills in are marked, and
    no warning counts them. ``checkpoint_best`` itself is chosen as in stock nnU-Net.

    Raises:
        UserError: The knob ``init_from`` is not set.

    [0] MIC-DKFZ/nnUNet, main of July 2026, training/nnUNetTrainer/pretraining (PretrainedTrainer_150ep)
    """

    method: ClassVar = "fine_tune"
    recipe: ClassVar = CARD.recipe
    recipe_with: ClassVar = CARD.recipe_with
    default_strategy: ClassVar = "all"
    dataloader_train: Any
    dataloader_val: Any
    _guard: Guard | None = None
    _source_roles = Roles()
    _known: tuple[str, ...] = ()

    def weights_to_start_from(self, checkpoint: dict[str, Any]) -> Mapping[str, torch.Tensor]:
        """Return the checkpoint's weights, and remember which classes it has."""
        theirs, ours = roles_in(checkpoint.get("init_args")), roles_in(self.my_init_kwargs)
        self._source_roles = matched_roles(theirs, ours, self.knobs["init_from_classes"], "knob 'init_from_classes'")
        return super().weights_to_start_from(checkpoint)

    def on_weights_loaded(self, done: Transfer) -> None:
        """Note for which classes the segmentation head was filled."""
        super().on_weights_loaded(done)
        heads = [fate for fate in done.fates if ".seg_layers." in fate.tensor and fate.tensor.endswith("weight")]
        filled = [fate.kind in ("loaded", "mapped") for fate in heads if fate.kind != "unused"]
        theirs = self._source_roles.outputs
        names = {name.casefold() for name in theirs or ()}  # rows by position may be those of other classes
        classes = tuple(foreground_classes(self.dataset_json))
        known = (name for name in classes if name.casefold() in names)
        self._known = tuple(known) if filled and filled[-1] else ()

    def on_train_start(self) -> None:
        """Prepare the training; a fresh one scores its start."""
        super().on_train_start()
        if not self._starts_from_checkpoint:
            self._score_start()

    def _score_start(self) -> None:
        """Validate as after an epoch, with nnU-Net's own steps."""
        outputs = []
        numbers = range(self.num_val_iterations_per_epoch)
        with torch.no_grad():
            self.on_validation_epoch_start()
            for _ in tqdm(numbers, "scoring the start", leave=False, disable=not Ranks.now().is_first):
                outputs.append(self.validation_step(next(self.dataloader_val)))
        outputs = [output for of_rank in Ranks.now().gather(outputs) for output in of_rank]
        classes = tuple(foreground_classes(self.dataset_json))
        scores = pseudo_dice(outputs)
        self._guard = Guard(str(self.knobs["init_from"]), classes, self._known, scores, self.kept_classes)
        told = ", ".join(f"{name} {score:.3f}{self._remark(name)}" for name, score in zip(classes, scores, strict=True))
        self.print_to_log_file(f"Start, pseudo Dice before any step: {told}")
        if self._known:
            self._save_start()
        if self.knobs["seed"] is not None:  # these batches are the first epoch's
            for loader in (self.dataloader_train, self.dataloader_val):
                if isinstance(loader, MultiThreadedAugmenter):
                    loader._finish()
            self.dataloader_train, self.dataloader_val = self.get_dataloaders()

    def _remark(self, name: str) -> str:
        if name in self.kept_classes:
            return f" ({AGREEMENT})"
        return "" if name in self._known else " (new)"

    def _save_start(self) -> None:
        """Write the checkpoint of epoch 0, before any step."""
        self.current_epoch -= 1  # stock code writes the number of the epoch after this one
        self.save_checkpoint(str(Path(self.output_folder) / START))
        self.current_epoch += 1

    def on_train_end(self) -> None:
        """Finish as stock does, and report what the training changed."""
        super().on_train_end()
        if self._guard is None:
            self.print_to_log_file("WARNING: the checkpoint holds no scores of the start, so nothing is compared")
            return
        scores = self.logger.get_value("dice_per_class_or_region", step=None)
        averages = self.logger.get_value("ema_fg_dice", step=None)
        report = self._guard.report(best=scores[averages.index(max(averages))], final=scores[-1])
        for line in report.lines():
            self.print_to_log_file(line)
        if Ranks.now().is_first:
            write_json(Path(self.output_folder) / FILE, report.as_json(), indent=1)

    def extra_state(self) -> dict[str, Any]:
        """Return the start's scores, too."""
        own = {} if self._guard is None else {KEY: self._guard.as_json()}
        return super().extra_state() | own

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`extra_state` returned."""
        super().load_extra_state(state)
        self._guard = Guard.from_json(state[KEY]) if KEY in state else None
