"""A training of several datasets that writes a task view for each, and validates each in its view."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nnunet_ext.collection.prediction.task_views import renew_weights, write_views
from nnunet_ext.collection.prediction.view_weights import disk_cost
from nnunet_ext.collection.training.final_validation import final_validation
from nnunet_ext.collection.training.prepared_member import PreparedMember
from nnunet_ext.collection.training.task_network_trainer import TaskNetworkTrainer
from nnunet_ext.data.preprocessed.use import release_data
from nnunet_ext.errors import UserError
from nnunet_ext.processes.ranks import Ranks


class ViewedTraining(TaskNetworkTrainer):
    """Task views of all members are written at the start of the training, follow its checkpoints, and hold results.

    Without members, as on plans of a view, it trains one dataset.
    """

    members: tuple[PreparedMember, ...] = ()

    def on_train_start(self) -> None:
        """Prepare as stock does, write the views and log what they cost on disk."""
        super().on_train_start()
        self._write_views(finished=False)
        weights = sum(weight.numel() * weight.element_size() for weight in self.network.parameters())
        sizes = [weights * (3 if self.knobs["optimizer"] == "AdamW" else 2)] * 2  # final and best, with the optimizer's
        how = self.knobs["multi_dataset"]["view_weights"]
        self.print_to_log_file(disk_cost(sizes, len(self.members), how, Path(self.output_folder)))

    def save_checkpoint(self, filename: str) -> None:
        """Save, and let the task views follow."""
        super().save_checkpoint(filename)
        if self.members and Ranks.now().is_first:
            renew_weights(self.plans_manager.plans, type(self).__name__, self.configuration_name, self.fold)

    def on_train_end(self) -> None:
        """Finish as stock does, and write the task views."""
        super().on_train_end()
        self._write_views(finished=True)

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Stock validation of every member, into its task view; then one table over all tasks."""
        if not self.members:
            super().perform_actual_validation(save_probabilities)
            return
        try:
            with self.fold_locked():
                self._validate_members(save_probabilities)
        finally:
            release_data()

    def _validate_members(self, save_probabilities: bool) -> None:
        self.check_leakage()  # of --val; a training has checked it
        self._write_views(finished=True)
        final_validation(self, partial(self.validate_dataset, save_probabilities))

    def _write_views(self, *, finished: bool) -> None:
        """Write the views; at the end a full disk must not cost the validation."""
        ranks, files = Ranks.now(), [member.files for member in self.members]
        ranks.wait()  # every rank writes the model's dataset.json, to which the first one adds
        wait = ranks.patient_wait()  # checkpoints of many views may be copied
        if ranks.is_first:
            model = self.plans_manager.plans, type(self).__name__, self.configuration_name, self.fold
            try:
                write_views(*model, files, finished=finished)
            except UserError as error:
                if not finished:
                    raise
                self.print_to_log_file(f"WARNING: {error}")
        wait()

    def check_leakage(self) -> None:
        """Refuse a fold that trains on a case in one member and validates on it in another."""
