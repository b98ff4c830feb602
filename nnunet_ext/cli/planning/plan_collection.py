"""What plan_and_preprocess does for collections besides calling a planner."""

from __future__ import annotations

from pathlib import Path

from nnunet_ext import sockets
from nnunet_ext.collection.manifest import Manifest
from nnunet_ext.collection.task_table import CONFIGURATION, TaskTable, member_plans_name
from nnunet_ext.data.dataset_json import dataset_number, is_collection
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json
from nnunet_ext.stock import folders

WHY_ONE_CONFIGURATION = (
    f"a collection has the one configuration {CONFIGURATION}, because its members share one 3d network (2d needs "
    f"another, and the second stage of a cascade takes the labels of one member as input)."
)


def read(place: Path) -> Manifest | None:
    """Return the manifest of a folder in nnUNet_raw, or None if it is an ordinary dataset.

    Raises:
        UserError: There is a manifest with a mistake.
    """
    from nnunet_ext.collection.members import read_manifest

    file = place / "dataset.json"
    description = read_json(file) if file.is_file() else {}
    return read_manifest(place) if isinstance(description, dict) and is_collection(description) else None


def check_words(name: str, planner: type, dataset: str, manifest: Manifest | None, configurations: list[str]) -> None:
    """Refuse a planner of the other kind, and configurations that collections do not have.

    Raises:
        UserError: ``-pl`` or ``-c`` does not fit.
    """
    from nnunet_ext.collection.planning.planner import CollectionPlanner

    if issubclass(planner, CollectionPlanner) != (manifest is not None):
        fitting = [
            other
            for other in sockets.names("planners")
            if issubclass(sockets.load("planners", other), CollectionPlanner) == (manifest is not None)
        ]
        kinds = (
            ("a planner for collections", "a collection") if manifest else ("another planner", "an ordinary dataset")
        )
        raise UserError(
            f"-pl {name}: expected {kinds[0]}, because {dataset} is {kinds[1]}. Take one of {', '.join(fitting)}"
            f"{'.' if manifest else ', or one of nnU-Net.'}"
        )
    others = [other for other in configurations if other != CONFIGURATION]
    if manifest and others:
        raise UserError(f"-c {' '.join(others)}: {WHY_ONE_CONFIGURATION} Give -c {CONFIGURATION}, or leave -c out.")


def members(manifest: Manifest) -> list[Path]:
    """Return the members' folders in nnUNet_raw.

    Raises:
        UserError: Several datasets have the number of a member.
    """
    return [_raw(task.dataset) for task in manifest.tasks]


def fingerprinted(manifest: Manifest) -> list[Path]:
    """Return the folders in nnUNet_raw from which fingerprints are extracted: for a part, its source's.

    Raises:
        UserError: Several datasets have the number of one.
    """
    from nnunet_ext.collection.members import root_source

    raw = folders.folder("nnUNet_raw")
    return [_raw(root_source(raw, task.dataset) or task.source or task.dataset) for task in manifest.tasks]


def preprocess_members(
    table: TaskTable,
    plans_name: str,
    processes: int,
    *,
    again: bool,
    verbose: bool,
    progress: bool,
    stock_resampling: bool,
) -> None:
    """Preprocess what is missing of each member, then of its unlabelled images, which were checked before.

    Data of other plans with the same preprocessing are linked.

    Args:
        table: The collection's tasks.
        plans_name: Name of the collection's plans.
        processes: Worker processes.
        again: Do not skip any.
        verbose: nnU-Net's.
        progress: Show progress bars.
        stock_resampling: Resample with nnU-Net's functions.
    """
    from nnunet_ext.collection.planning.member_state import is_complete, member_state, write_marker
    from nnunet_ext.collection.planning.shared_data import share_data
    from nnunet_ext.data.preprocessed.preprocessing import preprocess_missing
    from nnunet_ext.data.preprocessed.use import data_alone

    name = member_plans_name(plans_name, table.collection)
    for number, task in enumerate(table.tasks, start=1):
        title = f"member {number}/{len(table.tasks)} {task.dataset}"
        plans, folder = folders.plans(task.dataset, name), folders.dataset("nnUNet_preprocessed", task.dataset)
        state = member_state(folder, plans, CONFIGURATION)
        if not again and is_complete(folder, plans, CONFIGURATION):
            print(f"{title}: already preprocessed (--clean repeats it)")
            continue
        with data_alone(state.place):
            if not again and state.marker.digest() != state.digest:  # none of these plans' own are there
                state.marker.remove()
                cases = sorted(state.expected)
                shared = share_data(folder, plans, CONFIGURATION, cases, are_of_now=state.are_of_now)
                if shared is not None:
                    write_marker(folder, plans, CONFIGURATION)
                    print(f"{title}: same as data of other plans: {shared.name}, linked (--clean preprocesses again)")
                    continue
            print(f"{title}: {len(state.expected)} cases")
            preprocess_missing(
                state,
                processes=processes,
                again=again,
                verbose=verbose,
                progress=progress,
                stock_resampling=stock_resampling,
                say=print,
            )
    preprocess_unlabelled_of_members(
        table,
        plans_name,
        processes,
        again=again,
        progress=progress,
        check=False,
        stock_resampling=stock_resampling,
    )


def preprocess_unlabelled_of_members(
    table: TaskTable,
    plans_name: str,
    processes: int,
    *,
    again: bool,
    progress: bool,
    check: bool = True,
    stock_resampling: bool,
) -> None:
    """Preprocess what is missing of the members' unlabelled images, each with its own plans of the collection.

    Args:
        table: The collection's tasks.
        plans_name: Name of the collection's plans.
        processes: Worker processes.
        again: Do not skip any.
        progress: Show progress bars.
        check: Read all images first.
        stock_resampling: Resample with nnU-Net's functions.

    Raises:
        UserError: A member's unlabelled images are wrong.
    """
    from nnunet_ext.semi_supervised.preprocessing import check_unlabelled, preprocess_unlabelled
    from nnunet_ext.semi_supervised.raw_images import has_unlabelled

    name = member_plans_name(plans_name, table.collection)
    for number, task in enumerate(table.tasks, start=1):
        raw = _raw(task.dataset)
        if not has_unlabelled(raw):
            continue
        plans, folder = folders.plans(task.dataset, name), folders.dataset("nnUNet_preprocessed", task.dataset)
        preprocess_unlabelled(
            raw,
            folder,
            plans,
            CONFIGURATION,
            processes=processes,
            progress=progress,
            again=again,
            check=check,
            stock_resampling=stock_resampling,
            say=print,
        )
        cases = len(check_unlabelled(folder, plans, CONFIGURATION))
        print(f"member {number}/{len(table.tasks)} {task.dataset}: {cases} unlabelled case{'s' * (cases > 1)}")


def _raw(dataset: str) -> Path:
    return folders.dataset("nnUNet_raw", dataset_number(dataset))
