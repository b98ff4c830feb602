"""nnU-Net's planners for datasets whose images are all unlabelled."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_preprocessed

from nnunet_ext.data.preprocessed.state import PreprocessedState
from nnunet_ext.data.preprocessed.use import data_alone
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.files.json_file import write_json
from nnunet_ext.semi_supervised.images_alone.listed_cases import ListedCases


class _PlansImagesAlone(ListedCases):
    """Mix-in for planners: plans as for as many labelled cases; dataset.json in nnUNet_preprocessed is complete."""

    def plan_experiment(self) -> dict[str, Any]:
        """Plan as stock does, which copies a dataset.json that may lack the labels."""
        plans: dict[str, Any] = super().plan_experiment()  # type: ignore[misc]
        place = Path(str(nnUNet_preprocessed)) / self.dataset_name / "dataset.json"
        write_json(place, RawDataset.read(self.raw).description)
        return plans


def planner_of_images_alone(planner: type) -> type:
    """Return a planner that plans for unlabelled images as it does for labelled ones.

    Args:
        planner: A planner of nnU-Net's or ours, whose name the plans will hold.

    Example:
        >>> from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
        >>> from nnunet_ext.semi_supervised.images_alone.planning import planner_of_images_alone
        >>> planner_of_images_alone(ExperimentPlanner).__name__
        'ExperimentPlanner'
    """
    return type(planner.__name__, (_PlansImagesAlone, planner), {})


def clear_labelled(folder: Path, plans: Mapping[str, Any], configurations: Iterable[str]) -> None:
    """Leave an empty folder for the labelled cases of each configuration, those from before the labels went included.

    Args:
        folder: The dataset's folder in nnUNet_preprocessed.
        plans: Its plans.
        configurations: Names of configurations.

    Raises:
        UserError: A process trains on labelled cases.
    """
    for name in configurations:
        state = PreprocessedState(folder, plans, name)
        with data_alone(state.place):
            shutil.rmtree(state.place, ignore_errors=True)
            state.marker.remove()
            state.place.mkdir()
