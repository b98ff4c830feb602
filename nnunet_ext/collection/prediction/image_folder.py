"""A folder of images to predict, and the tasks that they can be predicted for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.collection.prediction.viewed_task import ViewedTask
from nnunet_ext.data.dataset_check import check_images
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_reader import planned_reader, read_image
from nnunet_ext.data.raw_dataset import list_images
from nnunet_ext.errors import UserError


@dataclass(frozen=True)
class ImageFolder:
    """Images of one kind.

    Args:
        folder: The folder that holds them.
        ending: Ending of their names.
        channels: Channels of each image.
    """

    folder: Path
    ending: str
    channels: int

    @classmethod
    def read(cls, folder: Path, tasks: Sequence[ViewedTask]) -> ImageFolder:
        """Find out what images a folder holds.

        Args:
            folder: The folder.
            tasks: The tasks to predict, which know what endings there may be.

        Raises:
            UserError: There is no image that a task could take, or images of several kinds.
        """
        if not folder.is_dir():
            raise UserError(f"{folder}: expected a folder of images, found none. Check the path after -i.")
        names = [path.name for path in folder.iterdir()]
        endings = sorted({task.file_ending for task in tasks})
        found = [ending for ending in endings if any(name.endswith(ending) for name in names)]
        if len(found) > 1:
            raise UserError(
                f"{folder}: expected images of one kind, found some that end in {' and some in '.join(found)}. Put "
                f"them into separate folders."
            )
        ending = found[0] if found else endings[0]
        numbers = [re.fullmatch(rf".+_(\d{{4}}){re.escape(ending)}", name) for name in names]
        channels = max((int(match[1]) + 1 for match in numbers if match), default=1)
        if channels == 1:
            channels = _channels_in_one_file(list_images(folder, ending, 1), tasks, ending)
        return cls(folder, ending, channels)

    def cases(self) -> list[Case]:
        """Return the images by name.

        Raises:
            UserError: A channel is missing, or a file's name says neither case nor channel.
        """
        return list_images(self.folder, self.ending, self.channels)

    def check(self, tasks: Sequence[ViewedTask], *, show_progress: bool = True) -> None:
        """Read all images with every reader that the tasks' plans name: members may have different ones.

        Args:
            tasks: The tasks to predict.
            show_progress: Show a progress bar.

        Raises:
            UserError: The first problem.
        """
        for task in {task.plans["image_reader_writer"]: task for task in tasks}.values():
            check_images(self.folder, dict(task.dataset_json), task.plans, show_progress=show_progress)

    def fitting(self, tasks: Sequence[ViewedTask], *, named: bool) -> list[ViewedTask]:
        """Return the tasks that take these images.

        Args:
            tasks: The tasks to choose from.
            named: The user asked for exactly these.

        Raises:
            UserError: None does, or one that was asked for does not.
        """
        fit = [task for task in tasks if (task.task.channels, task.file_ending) == (self.channels, self.ending)]
        if not fit or (named and len(fit) < len(tasks)):
            others = [task for task in tasks if task not in fit]
            wanted = ", ".join(f"{_kind(task.task.channels, task.file_ending)} for {task.task.name}" for task in others)
            raise UserError(
                f"{self.folder}: expected images with {wanted}, found images with "
                f"{_kind(self.channels, self.ending)}. Give other images after -i or other tasks after --tasks."
            )
        return fit


def _kind(channels: int, ending: str) -> str:
    return f"{channels} channel{'s' * (channels > 1)} ({ending})"


def _channels_in_one_file(cases: Sequence[Case], tasks: Sequence[ViewedTask], ending: str) -> int:
    """A file may hold several channels: those of the first one that can be read."""
    reader = planned_reader(next(task.plans for task in tasks if task.file_ending == ending))
    problem: UserError | None = None
    for case in cases:
        try:
            return len(read_image(reader, case.images[0])[0])
        except UserError as error:  # prediction says what is wrong with this case, and predicts the others
            problem = problem or error
    assert problem is not None
    raise problem
