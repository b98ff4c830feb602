"""One pass over an image for several tasks of a collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from nnunetv2.inference.data_iterators import preprocessing_iterator_fromfiles
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor

from nnunet_ext.base.image_check import Case
from nnunet_ext.base.json_file import write_json
from nnunet_ext.multi_dataset.viewed_task import ViewedTask


class TasksPredictor(nnUNetPredictor):
    """Stock prediction with a collection's model, for all tasks at once.

    Tasks whose images are preprocessed alike form a group. For each group an image is read and preprocessed once, and
    per sliding window and mirroring the network's part that does not know the task runs once.
    The labels are bit-identical to those of ``nnUNetv2_predict`` on the tasks' views.

    Start it with ``initialize_from_trained_model_folder`` on the collection's model folder.
    """

    _data: Tensor | None = None  # the image of which _logits are
    _logits: Tensor
    _rows = slice(None)  # the logits of the task that is on

    def predict_tasks(
        self,
        cases: Sequence[Case],
        tasks: Sequence[ViewedTask],
        output: Path,
        *,
        preprocessing_processes: int = 0,
        export_processes: int = 0,
    ) -> None:
        """Write ``output/<task>/<case><file ending>``, with plans.json and dataset.json beside them.

        Args:
            cases: The images; all tasks take them.
            tasks: The tasks.
            output: Folder for the tasks' folders.
            preprocessing_processes: Workers that read and preprocess; 0: in this process.
            export_processes: Workers that resample and write label maps; 0: in this process.
        """
        groups: dict[str, list[ViewedTask]] = {}
        for task in tasks:
            groups.setdefault(task.preprocessing, []).append(task)
            folder = output / task.task.name
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in (("plans.json", task.plans), ("dataset.json", task.dataset_json)):
                write_json(folder / name, content)
        for group in groups.values():
            items = self._items(cases, group, output, preprocessing_processes)
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
        """Return the logits of the task that is on; those of its whole group are computed with the first."""
        if data is not self._data:
            self._logits = super().predict_logits_from_preprocessed_data(data)
            self._data = data
        return self._logits[self._rows]

    def _items(self, cases: Sequence[Case], group: list[ViewedTask], output: Path, workers: int) -> Iterator[dict]:
        """Yield each preprocessed image once for each task, and be the predictor of that task meanwhile."""
        network: Any = getattr(self.network, "_orig_mod", self.network)
        network.set_task(*(task.number for task in group))
        heads = [task.task.heads for task in group]
        self.label_manager = SimpleNamespace(num_segmentation_heads=sum(heads))
        for item in self._preprocessed(cases, group[0], workers):
            for place, task in enumerate(group):
                self._rows = slice(sum(heads[:place]), sum(heads[: place + 1]))
                self.plans_manager = task.plans_manager
                self.configuration_manager = task.configuration_manager
                self.dataset_json = task.dataset_json
                yield item | {"ofile": str(output / task.task.name / item["ofile"])}

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
