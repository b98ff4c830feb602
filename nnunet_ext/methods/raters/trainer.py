"""nnU-Net's trainer on the label maps of several raters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor, nn

from nnunet_ext.base.checkpoints import EXTRA
from nnunet_ext.base.knobs import resolve, resolve_for
from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.data.preprocessed.use import use_data
from nnunet_ext.data.same_images import raw_folder
from nnunet_ext.errors import UserError
from nnunet_ext.labels.raters.preprocessing import check_preprocessed_raters, preprocessed_raters, raters_folder
from nnunet_ext.labels.raters.rated_dataset import RatedDataset
from nnunet_ext.labels.raters.raw_raters import are_exchangeable
from nnunet_ext.methods.raters.architecture import RaterUNet
from nnunet_ext.methods.raters.card import WITH_HEADS
from nnunet_ext.methods.raters.loss import AgreementLoss, HeadsLoss, PreferenceLoss, RatersStep, SharesLoss
from nnunet_ext.methods.raters.masked_loss import masked_loss
from nnunet_ext.methods.raters.rated_labels import RatedLabels
from nnunet_ext.methods.raters.rater_table import rater_number, raters_in, with_raters
from nnunet_ext.methods.raters.rater_views import check_rater_views, write_rater_views
from nnunet_ext.networks.unet import planned_unet
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.seeding.seeds import Purpose, seed_sequence

LOSSES: dict[str, Any] = {"soft": SharesLoss, "agreement": AgreementLoss, "heads": HeadsLoss, "padl": PreferenceLoss}
STATE = "raters"


class RatersTrainer(ExtTrainer):
    """Stock nnU-Net whose training cases have the label maps of several raters (``labelsTr_raters/<rater>/<case>``).

    ``labelsTr`` is validated on, and trained on where nobody rated a case. A training batch has the raters' maps as
    further channels of the target, cropped and augmented as the label is; the trainer makes of them, on the device,
    what the knob ``mode`` says:

    - ``random``: the map of one rater of each sample, for the whole patch, drawn again in each step; nnU-Net's loss.
    - ``soft``: the mean of the raters' one-hots; cross-entropy and Dice with these shares.
    - ``agreement``: voxels on which the raters differ are ignored.
    - ``heads``: a set of segmentation heads for each rater; the network's own learn the shares.
    - ``padl``: preference and stochastic error of each rater [0] on the last features.
    - ``majority``: stock nnU-Net on ``labelsTr``, the control.

    With heads, prediction is the consensus; the views of the raters predict what each of them would draw
    (:mod:`nnunet_ext.methods.raters.rater_views`).

    Knobs (plans block ``nnunet_ext.raters``): ``mode``, ``predict``.

    Raises:
        UserError: The raters were not preprocessed with these plans, or have changed since; heads for raters who are no
            persons, or for one without a case in the fold; training on the plans of a view, or resuming with other
            raters.

    [0] Liao et al., Medical Image Analysis 2024, https://arxiv.org/abs/2111.13410
    """

    method: ClassVar = "raters"
    keeps_no_classes = "whose labels are those of several raters"

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  (nnU-Net's signature)
    ) -> None:
        if resolve(plans, configuration)["raters"]["mode"] in WITH_HEADS:
            plans = _naming_raters(plans, configuration, dataset_json)
        super().__init__(plans, configuration, fold, dataset_json, device)
        self._mode = self.knobs["raters"]["mode"]
        manager = self.label_manager
        regions = None
        if manager.has_regions:
            regions = tuple(tuple(np.atleast_1d(region).tolist()) for region in manager.foreground_regions)
        self._labels = RatedLabels(len(manager.all_labels), regions, manager.ignore_label)
        self._raters: tuple[str, ...] = ()
        self._rated: dict[str, tuple[str, ...]] = {}  # by case
        self._drawing = np.random.default_rng()

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Build the plans' network; with heads for the raters, and set to the one that a view's plans name.

        Raises:
            UserError: The knob ``raters.predict`` names an unknown rater, or there is no head of any.
        """
        plans, sizes = plans_manager.plans, (num_input_channels, num_output_channels, enable_deep_supervision)
        knobs = resolve_for(plans_manager, configuration_manager)["raters"]
        if knobs["mode"] not in WITH_HEADS:
            if knobs["predict"] is not None:
                raise UserError(
                    f"plans {plans.get('plans_name')!r}, knob 'raters.predict': expected raters.mode "
                    f"{' or '.join(WITH_HEADS)}, which have an opinion of each rater, got {knobs['mode']!r}. Set it to "
                    f"null."
                )
            return super().build_network_architecture(plans_manager, configuration_manager, *sizes)
        names, regions = raters_in(plans)
        unet = planned_unet(plans_manager, configuration_manager, *sizes)
        network = RaterUNet(unet, len(names), preferences=knobs["mode"] == "padl", regions=regions)
        if knobs["predict"] is not None:
            network.rater = rater_number(plans, knobs["predict"])
        return network

    def _build_loss(self) -> nn.Module:
        """nnU-Net's own loss, or one on the maps of all raters around it."""
        stock = super()._build_loss()
        if self._mode not in LOSSES:
            return stock
        masked = masked_loss(self._labels, batch_dice=self.configuration_manager.batch_dice, ddp=self.is_ddp)
        if self._do_i_compile():
            masked.dc = torch.compile(masked.dc)
        return LOSSES[self._mode](stock, self._labels, masked)

    # loading

    def get_training_transforms(self, *args: Any, **kwargs: Any) -> Any:
        """Return stock's transforms; maps of raters become regions on the device, not in the workers."""
        if self._mode != "majority":
            kwargs["regions"] = None
        return super().get_training_transforms(*args, **kwargs)

    def get_tr_and_val_datasets(self) -> tuple[Any, nnUNetBaseDataset]:
        """Stock datasets, that of training with the maps of the raters."""
        train, val = super().get_tr_and_val_datasets()
        if self._mode == "majority":
            return train, val
        folder = self._find_raters()
        counts = self._present(train.identifiers).sum(0).tolist()
        told = ", ".join(f"{rater} {count}" for rater, count in zip(self._raters, counts, strict=True))
        self.print_to_log_file(f"Raters and how many of {len(train.identifiers)} training cases they annotated: {told}")
        if self._mode in WITH_HEADS and 0 in counts:
            raise UserError(
                f"{folder}: expected a training case of each rater in fold {self.fold}, found none of "
                f"{self._raters[counts.index(0)]!r}, whose head would learn nothing. Remove the rater, or train "
                f"another fold."
            )
        return RatedDataset(train, folder), val

    def _find_raters(self) -> Path:
        """Read who annotated which case, and return the folder of their maps."""
        data = Path(self.preprocessed_dataset_folder_base), self.plans_manager.plans, self.configuration_name
        folder = raters_folder(*data)
        use_data(folder)
        self._rated = check_preprocessed_raters(*data, raw_folder() / data[0].name)
        raters = preprocessed_raters(*data)
        self._check_raters(raters)
        self._raters = raters
        return folder

    def _present(self, cases: Iterable[str]) -> Tensor:
        """Return which raters annotated which of some cases, (N, R)."""
        return torch.tensor([[rater in self._rated[str(case)] for rater in self._raters] for case in cases])

    def _check_raters(self, raters: tuple[str, ...]) -> None:
        """Refuse heads for others than those of the plans, or for none who are persons."""
        if self._mode not in WITH_HEADS:
            return
        names, _ = raters_in(self.plans_manager.plans)
        if names != raters:
            raise UserError(
                f"plans {self.plans_manager.plans_name!r}: expected the raters {', '.join(names)}, found "
                f"{', '.join(raters)}. Restore labelsTr_raters, or train on plans of another name."
            )
        file = raw_folder() / self.plans_manager.dataset_name / "dataset.json"
        if are_exchangeable(self.dataset_json):
            raise UserError(
                f"{file}: expected raters who are persons for raters.mode={self._mode}, found exchangeable samples "
                f"('raters' in dataset.json). Set the knob raters.mode to random, soft or agreement."
            )

    # training

    def on_train_start(self) -> None:
        """Prepare as stock does; the plans of a rater's view are not trained on."""
        if (rater := self.knobs["raters"]["predict"]) is not None:
            raise UserError(
                f"plans {self.plans_manager.plans_name!r}: expected plans to train with, found those of the view of "
                f"rater {rater!r}. Set the knob raters.predict to null."
            )
        if self._mode in WITH_HEADS:
            check_rater_views(Path(self.output_folder_base), self.plans_manager.plans)
        super().on_train_start()

    def on_train_epoch_start(self) -> None:
        """Start the epoch as stock does; with a seed, the raters that are drawn depend on seed, rank and step."""
        super().on_train_epoch_start()
        if (seed := self.knobs["seed"]) is not None:
            source = seed_sequence(seed, Ranks.now().rank, Purpose.RATERS, self.current_epoch)
            self._drawing = np.random.default_rng(source)

    def train_step(self, batch: dict) -> dict:
        """Stock step, on what the mode makes of the raters' maps."""
        if self._mode == "majority":
            return super().train_step(batch)
        target = batch["target"]
        maps = target if isinstance(target, list) else [target]
        scales = [scale.to(self.device, non_blocking=True) for scale in maps]
        if not self._rated:
            self._find_raters()
        present = self._present(batch["keys"])
        if self._mode == "random":
            channels = self.draw(present)
            scales = [self._labels.target(self._labels.of_channel(scale, channels)) for scale in scales]
            return super().train_step(batch | {"target": scales if isinstance(target, list) else scales[0]})
        step = RatersStep(scales if isinstance(target, list) else scales[0], present)
        return super().train_step(batch | {"target": step})

    def validation_step(self, batch: dict) -> dict:
        """Stock step on the cases' own labels, of a training batch as well."""
        return super().validation_step(self.with_own_labels(batch))

    def with_own_labels(self, batch: dict) -> dict:
        """Return a batch with the cases' own labels alone, as nnU-Net's target."""
        target = batch["target"]
        scales = target if isinstance(target, list) else [target]
        if scales[0].shape[1] == 1 or scales[0].dtype == torch.bool:  # bool: regions, and not the raters' maps
            return batch
        own = [self._labels.target(scale[:, :1]) for scale in scales]
        return batch | {"target": own if isinstance(target, list) else own[0]}

    def draw(self, present: Tensor) -> list[int]:
        """Return for each sample the channel of the rater that is trained on, 0 for its own label if nobody rated it.

        Args:
            present: Which raters annotated which sample, (B, R).
        """
        found = []
        for sample in present:
            choices = sample.nonzero()[:, 0].tolist()
            found.append(1 + choices[self._drawing.integers(len(choices))] if choices else 0)
        return found

    def on_train_end(self) -> None:
        """Finish as stock does, and write the views of the raters."""
        super().on_train_end()
        if self._mode not in WITH_HEADS:
            return
        Ranks.now().wait()
        if Ranks.now().is_first:
            model = Path(self.output_folder_base)
            try:
                views = write_rater_views(model, self.fold)
            except UserError as error:  # a full disk must not cost the validation
                self.print_to_log_file(f"WARNING: {error}")
                return
            self.print_to_log_file("Views of the raters:", *(str(view) for view in views))

    def extra_state(self) -> dict[str, Any]:
        """Return the raters that were trained on."""
        return super().extra_state() | ({STATE: list(self._raters)} if self._raters else {})

    def check_checkpoint(self, checkpoint: dict[str, Any], filename: str) -> None:
        """Refuse what stock refuses, resuming with other raters, and heads of others: nnU-Net would not load them."""
        super().check_checkpoint(checkpoint, filename)
        before, now = tuple(checkpoint.get(EXTRA, {}).get(STATE, ())), self._now_there()
        if before and now and before != now:
            raise UserError(
                f"{filename}: expected the raters that the training began with, {', '.join(before)}, found "
                f"{', '.join(now)}. Restore labelsTr_raters and preprocess again, or train from scratch (without --c)."
            )

    def _now_there(self) -> tuple[str, ...]:
        if self._mode in WITH_HEADS:
            return raters_in(self.plans_manager.plans)[0]
        if not self.continue_training:
            return ()
        folder = Path(self.preprocessed_dataset_folder_base)
        return preprocessed_raters(folder, self.plans_manager.plans, self.configuration_name)


def _naming_raters(plans: dict, configuration: str, dataset_json: dict) -> dict:
    """Let plans name the raters that were preprocessed with them, unless they do."""
    from nnunetv2.paths import nnUNet_preprocessed

    if "raters" in plans:
        return plans
    folder = Path(str(nnUNet_preprocessed)) / plans["dataset_name"]
    names = preprocessed_raters(folder, plans, configuration)
    if not names:
        check_preprocessed_raters(folder, plans, configuration)  # says what is missing
    regions = PlansManager(plans).get_label_manager(dataset_json).has_regions
    return with_raters(plans, names, regions=regions)
