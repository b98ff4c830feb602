"""Final validation of all members of a collection, in which no rank waits while another one evaluates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2.paths import nnUNet_results

from nnunet_ext.collection.prediction.task_views import view_folder
from nnunet_ext.collection.training.task_report import write_task_report
from nnunet_ext.processes.ranks import Ranks

if TYPE_CHECKING:
    from nnunet_ext.collection.training.trainer import MultiTaskTrainer

Split = tuple[list[str], list[str]]


def final_validation(trainer: MultiTaskTrainer, validate: Callable[[], None]) -> None:
    """Validate every member into its task view, then write one table over all tasks.

    Several ranks first predict their shares of all members' cases. Then they wait for each other, as long as it takes,
    and the first one alone evaluates all members. If stock validated one member after the other, all other ranks would
    wait at the next member's barrier until the process group times out and ends them.

    Args:
        trainer: A collection's trainer; the views are written.
        validate: Stock's validation of the trainer's current member.
    """
    ranks = Ranks.now()
    wait = ranks.patient_wait()
    cases = _validation_cases(trainer)
    alone = ranks.world_size == 1
    for number, names in cases.items():
        trainer.print_to_log_file(f"Validation of {trainer.members[number]}")
        with trainer.on_task(number, **_one_process(trainer, number, ranks.share(names), evaluates=alone)):
            validate()
    wait()
    if not ranks.is_first:
        return
    for number in () if alone else cases:
        with trainer.on_task(number, **_one_process(trainer, number, [], evaluates=True)):
            validate()
    members = [trainer.members[number] for number in cases]
    folders = {member.task.name: _fold(trainer, member.task) / "validation" for member in members}
    classes = {member.task.name: member.classes for member in trainer.members}
    table = write_task_report(Path(trainer.output_folder) / "validation", folders, classes)
    trainer.print_to_log_file(table, add_timestamp=False)


def _validation_cases(trainer: MultiTaskTrainer) -> dict[int, list[str]]:
    """Get all splits beforehand: ranks synchronize in each."""
    cases = {}
    for number, member in enumerate(trainer.members):
        with trainer.on_task(number):
            names = trainer.do_split()[1]
        if names:
            cases[number] = list(names)
        else:
            trainer.print_to_log_file(f"{member} has no validation case in this fold")
    return cases


def _fold(trainer: MultiTaskTrainer, task: Any) -> Path:
    view = view_folder(
        Path(str(nnUNet_results)),
        task,
        trainer.table.collection,
        type(trainer).__name__,
        trainer.plans_manager.plans_name,
        trainer.configuration_name,
    )
    return view / f"fold_{trainer.fold}"


def _one_process(trainer: MultiTaskTrainer, number: int, cases: Sequence[str], *, evaluates: bool) -> dict[str, Any]:
    """Return attributes with which stock validates these cases alone, and evaluates or not."""
    fold = _fold(trainer, trainer.members[number].task)
    split: Split = ([], list(cases))
    return {
        "output_folder_base": str(fold.parent),
        "output_folder": str(fold),
        "do_split": lambda: split,
        "is_ddp": False,
        "local_rank": 0 if evaluates else max(1, Ranks.now().rank),  # stock's rank 0 evaluates
        "network": trainer.network.module if trainer.is_ddp else trainer.network,
    }
