"""One pass over an image for several tasks of a collection."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from nnunet_ext.collection.prediction.pass_memory import PassMemory
from nnunet_ext.collection.prediction.task_chunks import task_chunks
from nnunet_ext.collection.prediction.task_model import TaskModel
from nnunet_ext.collection.prediction.viewed_task import ViewedTask
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.preprocessed.fast_configuration import resampled_by
from nnunet_ext.errors import one_line
from nnunet_ext.files.json_file import write_json
from nnunet_ext.files.label_file import write_label_map
from nnunet_ext.prediction.cases import window_bar
from nnunet_ext.prediction.prepared_case import PreparedCase
from nnunet_ext.prediction.sliding_window import Progress, SlidingWindow
from nnunet_ext.prediction.stages import network_pass
from nnunet_ext.prediction.trained_model import TrainedModel
from nnunet_ext.processes.made_ahead import made_ahead
from nnunet_ext.stock.entry_points import check_device

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FailedCase:
    """A case that was not predicted for some tasks.

    Args:
        name: The case.
        tasks: Names of the tasks.
        problem: One line.
    """

    name: str
    tasks: tuple[str, ...]
    problem: str


class TasksPredictor:
    """Predicts with a collection's model for several tasks at once: the labels of ``nnUNetv2_predict`` on their views.

    Tasks whose images are preprocessed alike form a group. For each group an image is read and preprocessed once, and
    for each sliding window and mirroring, the part of the network that does not know the task runs once. Labels equal
    nnU-Net's apart from voxels where two logits differ by no more than fp16 resolves.

    Args:
        model: Folder ``TRAINER__PLANS__CONFIGURATION`` of the collection in nnUNet_results.
        folds: Folds whose logits are averaged, such as ``(0, 1)``; None: all that are trained.
        checkpoint: Name of the checkpoint.
        device: ``"cpu"``, ``"cuda"`` or ``"mps"``.
        step_size: Step of the sliding window in patches: above 0, at most 1.
        mirroring: Average over the mirrorings that the training used.
        on_device: On a GPU, keep image and sums of logits there while they fit.

    Raises:
        UserError: The model is missing or damaged, or there is no such device.

    Example:
        >>> from nnunet_ext.collection.prediction.tasks_predictor import TasksPredictor
        >>> folder = "nnUNet_results/Dataset900_MOTS/UniSegTrainer__UniSegPlans__3d_fullres"
        >>> predictor = TasksPredictor(folder, (0,), device="cpu")  # doctest: +SKIP
        >>> failed = predictor.predict_tasks(cases, tasks, Path("predictions"))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path,
        folds: Sequence[int | str] | None = None,
        checkpoint: str = "checkpoint_final.pth",
        *,
        device: str = "cuda",
        step_size: float = 0.5,
        mirroring: bool = True,
        on_device: bool = True,
    ) -> None:
        check_device(device)
        self.model = TrainedModel.load(Path(model), folds, checkpoint, collection=True)
        self._window = SlidingWindow(self.model, torch.device(device), step_size=step_size, mirroring=mirroring)
        self._on_device = on_device and device == "cuda"

    def predict_tasks(
        self,
        cases: Sequence[Case],
        tasks: Sequence[ViewedTask],
        output: Path,
        *,
        heads_at_once: int | None = None,
        overwrite: bool = True,
        check: bool = True,
        read_ahead: bool = True,
        write_behind: bool = True,
        show_progress: bool = False,
    ) -> list[FailedCase]:
        """Write ``output/<task>/<case><file ending>``, with plans.json and dataset.json beside them.

        If many tasks do not fit into memory, all tasks of a group share the image, but only some of them at a time
        share a pass of the network (:func:`task_chunks`). A case that fails is logged in one line, and the others go
        on.

        Args:
            cases: The images; all tasks take them.
            tasks: The tasks.
            output: Folder for the tasks' folders.
            heads_at_once: Maximum number of logits in one pass; None: what fits the free memory.
            overwrite: Whether existing label maps are predicted again.
            check: Refuse NIfTI files that are cut off or hold NaN.
            read_ahead: Read and preprocess the next case, in a thread, while the network works.
            write_behind: Write the last label maps, in a thread, while the network works.
            show_progress: Show a bar over cases, once for each group, and one over the windows of a case.

        Returns:
            What was not predicted.

        Raises:
            UserError: A view's labels do not belong to the network.
        """
        models = [TaskModel.of(self.model, task) for task in tasks]
        for task in tasks:
            folder = output / task.task.name
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in (("plans.json", task.plans), ("dataset.json", task.dataset_json)):
                write_json(folder / name, content)
        work = _Work(output)
        groups = _groups(models)
        for group in groups:
            who = resampled_by(group[0].model.configuration, purposes=("data",))
            logger.info("%s: %s", ", ".join(task.name for task in group), who)
        jobs = _jobs(cases, groups, output, overwrite=overwrite)
        with contextlib.ExitStack() as stack:
            bar = stack.enter_context(tqdm(total=len(jobs), desc="cases", unit="case", disable=not show_progress))
            writer = stack.enter_context(ThreadPoolExecutor(1)) if write_behind else None
            prepare = partial(_prepare, check=check)
            prepared = stack.enter_context(contextlib.closing(made_ahead(prepare, jobs, ahead=read_ahead)))
            for job, made in zip(jobs, prepared, strict=True):
                case = None
                with work.noting(job.case.name, job.tasks):
                    case = made()
                if case is not None:
                    for chunk in self._chunks(job, case, heads_at_once):
                        labels = None
                        with (
                            work.noting(job.case.name, chunk),
                            window_bar(job.case.name, show=show_progress) as progress,
                        ):
                            labels = self._labels(case, chunk, progress)
                        if labels is not None:
                            work.write(job.case.name, chunk, labels, case.properties, writer)
                bar.update()
        return work.failed()

    def _chunks(self, job: _Job, case: PreparedCase, heads_at_once: int | None) -> Iterator[list[TaskModel]]:
        read = case.properties["shape_before_cropping"]
        patch, folds = self.model.configuration.patch_size, len(self.model.parameters)
        memory = PassMemory.of(case.image.shape[1:], read, patch, folds)
        return task_chunks(job.tasks, memory, heads_at_once, self._gpu_free())

    def _gpu_free(self) -> int | None:
        """Bytes of the GPU's memory that no tensor holds; None if the sums are kept in the computer's memory."""
        if not self._on_device:
            return None
        device = self._window.device
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused

    def _labels(self, case: PreparedCase, chunk: Sequence[TaskModel], progress: Progress) -> list[NDArray[Any]]:
        """Return the label map of each task, made in one pass."""
        network: Any = getattr(self.model.network, "_orig_mod", self.model.network)  # without torch.compile
        network.set_task(*(task.task.number for task in chunk))
        heads = [task.heads for task in chunk]

        def export(slabs: Iterator[Tensor]) -> list[NDArray[Any]]:
            exports = [task.export(case.image.shape[1:], case.properties) for task in chunk]
            for slab in slabs:
                for task_export, rows in zip(exports, slab.split_with_sizes(heads), strict=True):
                    task_export.add(rows)
            return [task_export.finish() for task_export in exports]

        made = network_pass(
            self._window, case.image, export, heads=sum(heads), on_device=self._on_device, progress=progress
        )
        return made.result


@dataclass(frozen=True)
class _Job:
    """A case, and the tasks of one group that it is predicted for."""

    case: Case
    tasks: list[TaskModel]


def _groups(tasks: Sequence[TaskModel]) -> list[list[TaskModel]]:
    """The tasks whose images are preprocessed, and so resampled, alike."""
    groups: dict[str, list[TaskModel]] = {}
    for task in tasks:
        groups.setdefault(task.task.preprocessing, []).append(task)
    return list(groups.values())


def _jobs(cases: Sequence[Case], groups: Sequence[list[TaskModel]], output: Path, *, overwrite: bool) -> list[_Job]:
    jobs = [
        _Job(case, [task for task in group if overwrite or not task.label_map(output, case.name).is_file()])
        for group in groups
        for case in cases
    ]
    return [job for job in jobs if job.tasks]


def _prepare(job: _Job, *, check: bool) -> PreparedCase:
    return PreparedCase.from_files(job.tasks[0].model, job.case.images, check=check)


@dataclass
class _Work:
    """What is written, and what fails."""

    output: Path
    problems: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # tasks by case and problem
    last: Future[None] | None = None

    @contextlib.contextmanager
    def noting(self, case: str, tasks: Sequence[TaskModel]) -> Iterator[None]:
        """Note an error: whatever is wrong with one case must not end the prediction of others."""
        try:
            yield
        except Exception as error:
            names, problem = [task.name for task in tasks], one_line(error)
            self.problems.setdefault((case, problem), []).extend(names)
            logger.error("case %s was not predicted for %s: %s", case, ", ".join(names), problem)
            logger.debug("case %s", case, exc_info=True)

    def write(
        self,
        case: str,
        tasks: Sequence[TaskModel],
        labels: Sequence[NDArray[Any]],
        properties: dict[str, Any],
        writer: ThreadPoolExecutor | None,
    ) -> None:
        """Write label maps, in the writer's thread if there is one, after those that it still writes."""
        if self.last is not None:
            self.last.result()  # no more than those of one pass wait
        if writer is None:
            self._write(case, tasks, labels, properties)
        else:
            self.last = writer.submit(self._write, case, tasks, labels, properties)

    def failed(self) -> list[FailedCase]:
        return [FailedCase(case, tuple(tasks), problem) for (case, problem), tasks in self.problems.items()]

    def _write(
        self, case: str, tasks: Sequence[TaskModel], labels: Sequence[NDArray[Any]], properties: dict[str, Any]
    ) -> None:
        for task, label_map in zip(tasks, labels, strict=True):
            with self.noting(case, [task]):
                writer = task.model.plans_manager.image_reader_writer_class()
                write_label_map(writer, label_map, task.label_map(self.output, case), properties)
