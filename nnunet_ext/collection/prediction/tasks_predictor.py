"""One pass over an image for several tasks of a collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nnunetv2.inference.data_iterators import preprocessing_iterator_fromfiles
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor

from nnunet_ext.collection.prediction.task_chunks import task_chunks
from nnunet_ext.collection.prediction.viewed_task import ViewedTask
from nnunet_ext.data.image_case import Case
from nnunet_ext.files.json_file import write_json


@dataclass(frozen=True)
class _Outputs:
    """What nnU-Net's sliding window asks a label manager for."""

    num_segmentation_heads: int


class TasksPredictor(nnUNetPredictor):
    """Stock prediction with a collection's model, for all tasks at once.

    Tasks whose images are preprocessed alike form a group. For each group an image is read and preprocessed once, and
    for each sliding window and mirroring, the part of the network that does not know the task runs once. The labels are
    bit-identical to those of ``nnUNetv2_predict`` on the tasks' views.

    Start it with ``initialize_from_trained_model_folder`` on the collection's model folder.
    """

    _data: Tensor | None = None  # the image that _logits belong to
    _logits: Tensor
    _rows = slice(None)  # the logits of the current task

    def predict_tasks(
        self,
        cases: Sequence[Case],
        tasks: Sequence[ViewedTask],
        output: Path,
        *,
        preprocessing_processes: int = 0,
        export_processes: int = 0,
        heads_at_once: int | None = None,
        overwrite: bool = True,
    ) -> None:
        """Write ``output/<task>/<case><file ending>``, with plans.json and dataset.json beside them.

        If the logits of many tasks do not fit into memory, all tasks of a group share the image, but only some of them
        at a time share a pass of the network (:func:`task_chunks`).

        Args:
            cases: The images; all tasks take them.
            tasks: The tasks.
            output: Folder for the tasks' folders.
            preprocessing_processes: Workers that read and preprocess; 0: in this process.
            export_processes: Workers that resample and write label maps; 0: in this process.
            heads_at_once: Maximum number of logits in one pass; None: what fits the free memory.
            overwrite: Whether existing label maps are predicted again.
        """
        groups: dict[str, list[ViewedTask]] = {}
        for task in tasks:
            groups.setdefault(task.preprocessing, []).append(task)
            folder = output / task.task.name
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in (("plans.json", task.plans), ("dataset.json", task.dataset_json)):
                write_json(folder / name, content)
        for group in groups.values():
            missing = {
                case.name: [task for task in group if overwrite or not _label_map(output, task, case.name).is_file()]
                for case in cases
            }
            todo = [case for case in cases if missing[case.name]]
            if not todo:
                continue
            images = self._preprocessed(todo, group[0], preprocessing_processes)
            items = self._items(images, missing, output, heads_at_once)
            if export_processes:
                self.predict_from_data_iterator(items, False, export_processes)
                continue
            for item in items:
                logits = self.predict_logits_from_preprocessed_data(item["data"])
                export_prediction_from_logits(
                    logits,
                    item["data_properties"],
                    self.configuration_manager,
                    self.plans_manager,
                    self.dataset_json,
                    item["ofile"],
                )

    @torch.inference_mode()
    def predict_logits_from_preprocessed_data(self, data: Tensor) -> Tensor:
        """Return the logits of the current task; those of its whole chunk are computed with the first."""
        if data is not self._data:
            self._logits = super().predict_logits_from_preprocessed_data(data)
            self._data = data
        return self._logits[self._rows]

    def _items(
        self,
        images: Iterator[dict],
        missing: Mapping[str, list[ViewedTask]],
        output: Path,
        heads_at_once: int | None,
    ) -> Iterator[dict]:
        """Yield each preprocessed image once for each task, and act as the predictor of that task meanwhile."""
        network: Any = getattr(self.network, "_orig_mod", self.network)
        for item in images:
            for chunk in task_chunks(missing[item["ofile"]], item["data"].shape[1:], heads_at_once):
                network.set_task(*(task.number for task in chunk))
                heads = [task.task.heads for task in chunk]
                self.label_manager = _Outputs(sum(heads))
                self._data = None
                for place, task in enumerate(chunk):
                    self._rows = slice(sum(heads[:place]), sum(heads[: place + 1]))
                    self._switch_to(task)
                    yield item | {"ofile": str(output / task.task.name / item["ofile"])}

    def _switch_to(self, task: ViewedTask) -> None:
        """Export as nnU-Net does for this task, until the next switch."""
        self.plans_manager = task.plans_manager
        self.configuration_manager = task.configuration_manager
        self.dataset_json = task.dataset_json

    def _preprocessed(self, cases: Sequence[Case], task: ViewedTask, workers: int) -> Iterator[dict]:
        files = [[str(file) for file in case.images] for case in cases]
        names = [case.name for case in cases]
        manager, configuration = task.plans_manager, task.configuration_manager
        if workers:
            pin = self.device.type == "cuda"
            yield from preprocessing_iterator_fromfiles(
                files, None, names, manager, task.dataset_json, configuration, workers, pin, self.verbose_preprocessing
            )
            return
        preprocessor = configuration.preprocessor_class(verbose=self.verbose_preprocessing)
        for name, images in zip(names, files, strict=True):
            data, _, properties = preprocessor.run_case(images, None, manager, configuration, task.dataset_json)
            yield {"data": torch.from_numpy(data), "data_properties": properties, "ofile": name}


def _label_map(output: Path, task: ViewedTask, case: str) -> Path:
    return output / task.task.name / f"{case}{task.file_ending}"
