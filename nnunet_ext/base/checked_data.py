"""Trainers that check their data before training, and a checkpoint's data before resuming."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from nnunet_ext.base.knobs import resolve
from nnunet_ext.base.optimizers import kind_of
from nnunet_ext.base.trained_on import check_trained_on, data_record, of_methods, recorded
from nnunet_ext.base.training_check import check_sample
from nnunet_ext.data.folds import check_fold
from nnunet_ext.data.preprocessed.state import PreprocessedState, preprocessed_cases
from nnunet_ext.data.preprocessed.use import use_data
from nnunet_ext.data.same_images import raw_folder
from nnunet_ext.processes.ranks import Ranks


class CheckedData:
    """Mix-in for trainers, left of ``nnUNetTrainer``: incomplete data, and data that changed since, are refused.

    Raises:
        UserError: Incomplete preprocessed data; folds that do not fit the preprocessed cases; images for which nnU-Net
            could not write a prediction; a checkpoint with other knobs, plans or data.
    """

    plans_manager: Any
    configuration_name: str
    dataset_json: dict[str, Any]
    preprocessed_dataset_folder: str
    preprocessed_dataset_folder_base: str
    fold: int
    knobs: dict[str, Any]
    needs_labels: ClassVar[bool] = True  # else it trains on a dataset whose images are all unlabelled, too
    recipe: ClassVar[Mapping[str, Any]]
    recipe_with: ClassVar[Mapping[str, Mapping[str, Any]]]
    continue_training: bool
    _data_checked = False
    _data_record: dict[str, Any] | None = None
    _splits: dict[str, tuple[list[str], list[str]]] | None = None  # by the folder of the data

    def do_split(self) -> tuple[list[str], list[str]]:
        """Stock split after :func:`check_fold`, read once: what was trained on is never validated at the end.

        With several ranks, the first one writes ``splits_final.json`` before the others read it.
        """
        place = self.preprocessed_dataset_folder
        self._splits = {} if self._splits is None else self._splits
        if place not in self._splits:
            ranks = Ranks.now()
            if not ranks.is_first:
                ranks.wait()
            self.check_fold()
            self._splits[place] = super().do_split()  # type: ignore[misc]
            if ranks.is_first:
                ranks.wait()
        train, val = self._splits[place]
        return list(train), list(val)

    def check_preprocessed(self) -> None:
        """Refuse incomplete preprocessed data; checked once, as training may take days."""
        if not self._data_checked:
            state = self.preprocessed_state()
            use_data(state.place)
            if self.needs_labels or not state.has_images_alone:
                state.check()
            self._data_checked = True

    def preprocessed_state(self) -> PreprocessedState:
        """Return the state of the training data."""
        folder = Path(self.preprocessed_dataset_folder_base)
        raw = raw_folder() / folder.name
        return PreprocessedState(folder, self.plans_manager.plans, self.configuration_name, raw)

    def check_fold(self) -> None:
        """Refuse a fold that does not fit the preprocessed cases."""
        folder, data = Path(self.preprocessed_dataset_folder_base), Path(self.preprocessed_dataset_folder)
        check_fold(folder, preprocessed_cases(data), self.fold)

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        """Stock datasets, after refusing data for which nnU-Net could not write a prediction."""
        train, val = super().get_tr_and_val_datasets()  # type: ignore[misc]
        check_sample(train)
        return train, val

    def check_checkpoint(self, checkpoint: dict[str, Any], filename: str) -> None:
        """Refuse another trainer's checkpoint, and one whose knobs, plans or data are not the current ones."""
        super().check_checkpoint(checkpoint, filename)  # type: ignore[misc]
        self.check_trained_on(checkpoint, filename)

    def check_trained_on(self, checkpoint: dict[str, Any], filename: str) -> None:
        """Refuse to resume from a checkpoint, or to validate it, with plans or data that it was not trained on."""
        data = self.data_record() if recorded(checkpoint) is not None else None
        plans, configuration = self.plans_manager.plans, self.configuration_name
        knobs = self._began_with(checkpoint), self.knobs
        if not self.continue_training:  # length, rate and the like do not change what is validated
            knobs = of_methods(knobs[0]), of_methods(knobs[1])
        check_trained_on(checkpoint, filename, plans, configuration, self.dataset_json, data, knobs)

    def _began_with(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """The knobs of a checkpoint."""
        arguments, recipe = checkpoint["init_args"], self.recipe
        if recipe and kind_of(checkpoint["optimizer_state"]) != recipe["optimizer"]:
            recipe = {}  # the run is older than the recipe, or its plans name an optimizer
        return resolve(arguments["plans"], arguments["configuration"], recipe, self.recipe_with)

    def data_record(self) -> dict[str, Any]:
        """Return what a checkpoint records of the data, as they were when this process first looked."""
        if self._data_record is None:
            self._data_record = data_record(Path(self.preprocessed_dataset_folder_base), self.splits())
        return self._data_record

    def splits(self) -> dict[str, tuple[list[str], list[str]]]:
        """Return training and validation cases by dataset."""
        return {self.plans_manager.dataset_name: self.do_split()}

    def check_any_data(self) -> None:
        """Refuse an empty folder: stock code looks there for the type of the data files before it trains."""
        if not preprocessed_cases(Path(self.preprocessed_dataset_folder)):
            self.check_preprocessed()
