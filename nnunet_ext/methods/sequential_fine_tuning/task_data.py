"""The data that a model was fine-tuned on, as its checkpoint tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_ext.data.folds import split_of
from nnunet_ext.data.preprocessed.state import PreprocessedState, preprocessed_cases
from nnunet_ext.data.preprocessed.use import use_data
from nnunet_ext.data.same_images import raw_folder
from nnunet_ext.errors import UserError
from nnunet_ext.methods.sequential_fine_tuning.buffer import Cases
from nnunet_ext.weights.roles import roles_in
from nnunet_ext.weights.topology import moved_channel

KNOB = "knob 'sequential_fine_tuning.task_model'"


def task_data(checkpoint: Mapping[str, Any], preprocessed: Path, channels: Sequence[str] | None) -> Cases:
    """Return the training cases of a model's fold; its validation cases stay unseen.

    Args:
        checkpoint: The model's checkpoint.
        preprocessed: nnUNet_preprocessed.
        channels: Names of the channels of the network that is trained; None: not known.

    Raises:
        UserError: The checkpoint does not tell them, they are not preprocessed (any more), or they have the channels
            in another order.
    """
    arguments = checkpoint.get("init_args")
    arguments = arguments if isinstance(arguments, Mapping) else {}
    plans, configuration = arguments.get("plans"), str(arguments.get("configuration"))
    plans = plans if isinstance(plans, Mapping) else {}
    if "dataset_name" not in plans or configuration not in plans.get("configurations", {}):
        raise UserError(
            f"{KNOB}: expected a checkpoint that names its dataset and configuration, found none. Give the "
            f"checkpoint_final.pth that FineTuneTrainer wrote."
        )
    if (found := moved_channel(channels, roles_in(arguments).channels)) is not None:
        raise UserError(
            f"{KNOB}: expected the channels in the order of these plans, found {found}. All data of a chain need the "
            f"same channels in the same order."
        )
    name, fold = plans["dataset_name"], arguments.get("fold", "all")
    state = PreprocessedState(preprocessed / name, plans, configuration, raw_folder() / name)
    if not state.folder.is_dir():
        raise UserError(f"{KNOB}: expected its data, found no {state.folder}. Preprocess {name} again.")
    use_data(state.place)
    state.check()
    cases, _ = split_of(state.folder, preprocessed_cases(state.place), fold)
    if not cases:
        raise UserError(f"{KNOB}: expected training cases of {name} in fold {fold}, found none. Restore its folds.")
    return Cases(state.place, tuple(cases))
