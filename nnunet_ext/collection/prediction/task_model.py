"""A collection's model as the model of one of its tasks."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.collection.prediction.viewed_task import ViewedTask
from nnunet_ext.collection.prediction.whole_logits import WholeLogits
from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.prediction.label_map import ImageLabels
from nnunet_ext.prediction.stock_reasons import reason_for_stock
from nnunet_ext.prediction.trained_model import TrainedModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class TaskModel:
    """A task, and what prediction needs of its model.

    Args:
        task: The task.
        model: The collection's network and weights, with plans, labels and dataset.json of the task.
        why_stock: Why nnU-Net's own export makes the task's label maps; None if ours does.
    """

    task: ViewedTask
    model: TrainedModel
    why_stock: str | None

    @classmethod
    def of(cls, collection: TrainedModel, task: ViewedTask) -> TaskModel:
        """Describe a collection's model as that of a task; a task that needs nnU-Net's own export is logged.

        Args:
            collection: The collection's model.
            task: One of its tasks.

        Raises:
            UserError: The task's view has labels that nnU-Net does not accept, or another number than the network.
        """
        plans, description = task.plans_manager, dict(task.dataset_json)
        name = f"dataset.json in the view of task {task.task.name!r}"
        try:
            labels = plans.get_label_manager(description)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"{name}: expected labels that nnU-Net accepts, got {one_line(error)!r}. Restore the view with "
                f"nnunet_ext task_views."
            ) from error
        if labels.num_segmentation_heads != task.task.heads:
            raise UserError(
                f"{name}: expected labels for the {task.task.heads} heads of the network, found labels for "
                f"{labels.num_segmentation_heads}. Restore the view with nnunet_ext task_views."
            )
        why = reason_for_stock(task.plans, description, task.configuration)
        if why is not None:
            logger.warning(
                "task %s: nnU-Net's own export is used, because %s; it needs more time and memory", task.task.name, why
            )
        model = dataclasses.replace(
            collection,
            plans_manager=plans,
            configuration=FastConfiguration.of(task.configuration_manager),
            dataset_json=description,
            label_manager=labels,
            channels=task.task.channels,
        )
        return cls(task, model, why)

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.task.name

    @property
    def heads(self) -> int:
        """Logits of the task."""
        return self.task.task.heads

    def label_map(self, output: Path, case: str) -> Path:
        """Return the file of a case in the folder of all tasks' predictions."""
        return output / self.name / f"{case}{self.task.file_ending}"

    def export(self, shape: Sequence[int], properties: Mapping[str, Any]) -> ImageLabels | WholeLogits:
        """Return what makes the task's label map of an image from its slabs of logits.

        Args:
            shape: D, H, W of the preprocessed image.
            properties: What nnU-Net's preprocessing noted of the image.
        """
        if self.why_stock is None:
            return ImageLabels(shape, self.model, properties)
        return WholeLogits(shape, self.task, properties)
