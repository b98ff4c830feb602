"""Trainers that keep the classes of the model they start from although nobody annotated these."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.errors import UserError
from nnunet_ext.strategies.filled_background import at_scales, filled_labels, filled_regions
from nnunet_ext.strategies.source_network import SourceNetwork
from nnunet_ext.strategies.unannotated import Unannotated, unannotated_in
from nnunet_ext.weights.class_matching import matched_roles
from nnunet_ext.weights.heads import fitted_rows
from nnunet_ext.weights.roles import Roles, roles_in
from nnunet_ext.weights.source_checkpoint import source_checkpoint
from nnunet_ext.weights.task_heads import task_heads

METHOD, NAME = "fine_tune", "keep_unannotated"
KNOB = f"knob {METHOD}.{NAME}"
STATE, BEGAN = "kept_classes", "kept_classes_began"  # keys of its state in the trainer's own part of a checkpoint


class KeepsClasses:
    """Mix-in for trainers, left of ``nnUNetTrainer``: the knob ``fine_tune.keep_unannotated``.

    Somebody's model knows liver and spleen; these data have labels of all three, but only tumour was annotated. With
    the knob, the model that ``init_from`` names predicts each batch, of training and of each epoch's validation, with
    the frozen network and all outputs of its own. Background becomes liver or spleen where these are its prediction;
    what was annotated stays. nnU-Net's own loss and scores then take these labels: the scores of kept classes are their
    agreement with the source.

    A class is filled in if the source knows it and it occurs in no label of the training cases, or, where
    ``annotated`` in dataset.json says so case by case, if it was not annotated in a case.

    This is Learning without Forgetting [0] with hard labels instead of a distillation loss, and the pseudo-labels of
    PLOP [1] without its threshold on the uncertainty and without its distillation of features: nnU-Net's loss is
    unchanged. The teacher is the source itself, never a model of an earlier step of the same training. nnU-Net has
    turned padding into background before a batch arrives, so it is filled like any other background.

    The source's network is in no checkpoint: a resumed training (``--c``) reads it from the same file again.

    Attributes:
        kept_classes: Names of the classes that are filled in, at least in some cases.

    Raises:
        UserError: No source; one whose network is not the trainer's; classes of one side are labels and of the other
            regions; a trainer of collections or of unlabelled images; a training resumed with another source, or with
            other cases or classes that were not annotated.

    [0] Li and Hoiem, Learning without forgetting, ECCV 2016, https://arxiv.org/abs/1606.09282
    [1] Douillard et al., PLOP: learning without forgetting for continual semantic segmentation, CVPR 2021,
    https://arxiv.org/abs/2011.11390
    """

    keeps_no_classes: ClassVar[str] = ""  # why a kind of trainer cannot
    knobs: dict[str, Any]
    device: torch.device
    dataset_json: dict[str, Any]
    my_init_kwargs: dict[str, Any]
    plans_manager: Any
    configuration_manager: Any
    label_manager: Any
    preprocessed_dataset_folder: str
    build_network_architecture: Any
    do_split: Any
    print_to_log_file: Any
    kept_classes: tuple[str, ...] = ()
    _kept_source: SourceNetwork | None = None
    _not_annotated = Unannotated(frozenset())
    _kept_places: tuple[int | None, ...] = ()
    _kept_began: Mapping[str, str] | None = None  # hashes of what decides the labels that are filled in

    def on_train_start(self) -> None:
        """Prepare as stock does, and the source's network if it has classes to fill in."""
        if self.knobs[METHOD][NAME]:
            self._prepare_source()
        super().on_train_start()  # type: ignore[misc]

    def _prepare_source(self) -> None:
        if self.keeps_no_classes:
            raise UserError(
                f"{KNOB}: expected a trainer of labelled images of one dataset, found {type(self).__name__}, "
                f"{self.keeps_no_classes}. Set it to false, or train with FineTuneTrainer."
            )
        if self.knobs["init_from"] is None:
            raise UserError(
                f"{KNOB}: expected a trained model that knows further classes, found none. Set the knob init_from to "
                f"its checkpoint."
            )
        file, checkpoint = source_checkpoint(self.knobs["init_from"])
        theirs, ours = roles_in(checkpoint.get("init_args")), roles_in(self.my_init_kwargs)
        theirs = matched_roles(theirs, ours, self.knobs["init_from_classes"], "knob 'init_from_classes'")
        known = _classes_of(theirs, ours, file)
        classes = foreground_classes(self.dataset_json)
        candidates = [name for name, output in zip(classes, self._kept_outputs(), strict=True) if output in known]
        folder = Path(self.preprocessed_dataset_folder)
        self._not_annotated = unannotated_in(candidates, classes, self.dataset_json, folder, self.do_split()[0])
        self.kept_classes = tuple(name for name in classes if name in self._not_annotated.names)
        if self.kept_classes:
            build = partial(self._kept_network, self.plans_manager, self.configuration_manager)
            weights = task_heads(checkpoint["network_weights"], checkpoint["init_args"]["plans"])
            self._kept_source = SourceNetwork(build, file, weights, theirs, ours.channels, self.device)
            self._kept_places = known
        self._check_resumed(file)
        if not self.kept_classes:
            told = f"all of them were annotated: {', '.join(candidates)}" if candidates else "none has its name here"
            self.print_to_log_file(
                f"WARNING: {KNOB} changes nothing: of the classes that {file} knows, {told}. Set it to false."
            )
            return
        in_some = "" if self._not_annotated.everywhere else " in some cases (annotated in dataset.json)"
        self.print_to_log_file(
            f"{KNOB}: {', '.join(self.kept_classes)} not annotated{in_some}; where the labels have background, "
            f"{file} fills them in"
        )

    def _check_resumed(self, file: Path) -> None:
        """Refuse to resume with other labels than those that the run began with."""
        now = {"unannotated": self._not_annotated.digest()}
        if self._kept_source is not None:
            now["source"] = self._kept_source.digest()
        began, self._kept_began = self._kept_began or now, now
        if began["unannotated"] != now["unannotated"]:
            raise UserError(
                f"{KNOB}: expected the same classes not annotated in the same cases as when the run began, found "
                f"others: 'annotated' in dataset.json, or the labels, have changed. Restore them, or train from "
                f"scratch (without --c), best with plans of another name."
            )
        if began.get("source") != now.get("source"):
            raise UserError(
                f"{file}: expected the weights that the run began with, whose predictions are its labels ({KNOB}), "
                f"found others. Restore the file, or train from scratch (without --c)."
            )

    def _kept_network(self, plans: Any, configuration: Any, channels: int, outputs: int) -> Any:
        return self.build_network_architecture(plans, configuration, channels, outputs, False)

    def _kept_outputs(self) -> range:
        """Return the number of each foreground class among the outputs of the network."""
        first = 0 if self.label_manager.has_regions else 1
        return range(first, first + len(foreground_classes(self.dataset_json)))

    def with_kept_classes(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return a batch whose labels have the classes of the source, too; without the knob, the batch itself.

        Args:
            batch: Of nnU-Net's loader: ``data`` (B, C, D, H, W), ``target`` (B, 1 or R, D, H, W) or their list over
                scales, ``keys``: the names of the cases.
        """
        if self._kept_source is None:
            return batch
        images, target = batch["data"].to(self.device, non_blocking=True), batch["target"]
        full: Tensor = target[0] if isinstance(target, list) else target
        fill = filled_regions if self.label_manager.has_regions else filled_labels
        logits = self._kept_source.logits(images)
        filled = fill(full.to(self.device), logits, self._kept_places, self._outputs_not_annotated(batch["keys"]))
        return batch | {"data": images, "target": at_scales(filled, target) if isinstance(target, list) else filled}

    def _outputs_not_annotated(self, cases: Any) -> Tensor:
        """Return for each sample and output whether its class was not annotated, (B, K)."""
        names = dict(zip(foreground_classes(self.dataset_json), self._kept_outputs(), strict=True))
        found = torch.zeros((len(cases), self._kept_outputs().stop), dtype=torch.bool)
        for sample, case in enumerate(cases):
            for name in self._not_annotated.of(str(case)):
                found[sample, names[name]] = True
        return found.to(self.device)

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Stock step, on labels that have the classes of the source, too."""
        found: dict[str, Any] = super().validation_step(self.with_kept_classes(batch))  # type: ignore[misc]
        return found

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validate as stock does, on the labels as they are, and say which scores mean nothing."""
        super().perform_actual_validation(save_probabilities)  # type: ignore[misc]
        if self.kept_classes:
            self.print_to_log_file(
                f"{', '.join(self.kept_classes)} not annotated, at least in some cases ({KNOB}): where the labels of "
                f"validation cases lack them, their scores in the summary, and the mean over all classes, are not "
                f"meaningful"
            )

    def extra_state(self) -> dict[str, Any]:
        """Return the names of the classes that are filled in, for a later validation, and what decided the labels."""
        state: dict[str, Any] = super().extra_state()  # type: ignore[misc]
        state |= {STATE: list(self.kept_classes)} if self.kept_classes else {}
        return state | ({BEGAN: dict(self._kept_began)} if self._kept_began else {})

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`extra_state` returned."""
        super().load_extra_state(state)  # type: ignore[misc]
        self.kept_classes = tuple(state.get(STATE, ()))
        self._kept_began = state.get(BEGAN)


def _classes_of(theirs: Roles, ours: Roles, file: Path) -> tuple[int | None, ...]:
    """Return for each output of the source that of the network, by the rule for rows of heads."""
    if theirs.outputs is None or ours.outputs is None:
        raise UserError(
            f"{file}: expected a source whose classes are known, for {KNOB}, found no dataset.json of one dataset in "
            f"it. Plan with nnunet_ext plan_finetune --from CHECKPOINT PLANS DATASET_JSON."
        )
    if theirs.are_regions != ours.are_regions:
        kinds = ("labels", "regions")
        raise UserError(
            f"{file}: expected a source with {kinds[ours.are_regions]}, as the data have, for {KNOB}, found one with "
            f"{kinds[theirs.are_regions]}. Describe the classes of dataset.json alike."
        )
    rows, _ = fitted_rows(torch.full((len(ours.outputs),), -1), torch.arange(len(theirs.outputs)), theirs, ours)
    partners = [] if rows is None else rows.tolist()
    return tuple(partners.index(number) if number in partners else None for number in range(len(theirs.outputs)))
