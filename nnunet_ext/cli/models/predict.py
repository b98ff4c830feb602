"""``nnunet_ext predict``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.options import check_words, device, fold, folder, real, whole
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_object
from nnunet_ext.sockets import open_door
from nnunet_ext.stock import folders
from nnunet_ext.stock.entry_points import check_device, option, run_stock
from nnunet_ext.stock.lookup import check_trainer
from nnunet_ext.stock.models import check_folds, model_folder

NO_CHECK = "--no_check"
KINDS = {
    "-f": fold,
    "-step_size": real(0, 1),
    "-npp": whole(0),
    "-nps": whole(0),
    "-num_parts": whole(1),
    "-part_id": whole(0),
    "-device": device,
}


@dataclass
class Predict(Command):
    """Set nnUNet_extTrainer, check the images and pass all arguments to nnUNetv2_predict.

    One option is our own: --no_check skips reading all images first.
    """

    name: ClassVar[str] = "predict"
    has_workers: ClassVar[bool] = True

    words: list[str]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Predict:
        """Keep all arguments: the stock entry point reads them."""
        return cls(list(arguments))

    def run(self) -> int:
        """Predict with nnU-Net's entry point."""
        open_door()
        if not {"-h", "--help"} & set(self.words):
            self._check()
        from nnunetv2.inference.predict_from_raw_data import predict_entry_point

        run_stock("nnUNetv2_predict", predict_entry_point, [word for word in self.words if word != NO_CHECK])
        return 0

    def _check(self) -> None:
        words = {flag: option(self.words, flag) for flag in ("-i", "-o", "-d", "-c")}
        if missing := [flag for flag, word in words.items() if word is None]:
            raise UserError(
                f"expected -i IMAGES -o OUTPUT -d DATASET -c CONFIGURATION, found no {', '.join(missing)}. "
                f"Example: nnunet_ext predict -i imagesTs -o predictions -d 4 -c 3d_fullres -tr BANetTrainer -f 0"
            )
        check_words(self.words, KINDS)
        parts, part = int(option(self.words, "-num_parts", "1") or 1), int(option(self.words, "-part_id", "0") or 0)
        if part >= parts:
            raise UserError(f"-part_id {part}: expected less than -num_parts, {parts}, counted from 0. Correct it.")
        trainer = option(self.words, "-tr", "nnUNetTrainer") or ""
        check_trainer(trainer)
        model = model_folder(str(words["-d"]), str(words["-c"]), trainer, option(self.words, "-p", "nnUNetPlans") or "")
        _check_no_collection(model)
        check_folds(model, folds(self.words), option(self.words, "-chk", "checkpoint_final.pth") or "")
        folders.check_writable(Path(str(words["-o"])), f"-o {words['-o']}")
        check_device(option(self.words, "-device", "cuda"))
        if NO_CHECK in self.words:
            check_words(self.words, {"-i": folder})
        else:
            from nnunet_ext.data.dataset_check import check_images
            from nnunet_ext.data.dataset_json import read_dataset_json

            quiet = "--disable_progress_bar" in self.words
            description = read_dataset_json(model / "dataset.json")
            plans = folders.read_json(model / "plans.json")
            check_images(Path(str(words["-i"])), description, plans, show_progress=not quiet)


def _check_no_collection(model: Path) -> None:
    from nnunet_ext.collection.task_table import TaskTable, member_plans_name

    plans = read_object(model / "plans.json")
    table = TaskTable.read(plans)
    if table is not None and table.bound is None:
        raise UserError(
            f"{model}: expected the model of one dataset, found that of a collection. Predict with a task's view: -d "
            f"{dataset_number(table.tasks[0].dataset)} -p {member_plans_name(plans['plans_name'], table.collection)}; "
            f"or all tasks with nnunet_ext predict_tasks."
        )


def folds(words: Sequence[str]) -> list[str]:
    """Return the words after ``-f``, or nnU-Net's default, all five folds."""
    if "-f" not in words:
        return ["0", "1", "2", "3", "4"]
    return list(takewhile(lambda word: not word.startswith("-"), words[words.index("-f") + 1 :]))
