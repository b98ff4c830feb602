"""Apply rules to all label maps of a folder, in several processes, each with one case in memory."""

from __future__ import annotations

import shutil
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from nnunet_ext.challenges.case_masks import LabelMap, whole_labels
from nnunet_ext.challenges.challenge import READER, label_files, some_cases
from nnunet_ext.challenges.postprocessing.processed import processed
from nnunet_ext.challenges.postprocessing.rules_file import RulesFile
from nnunet_ext.data.image_reader import find_reader, read_image
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_object, write_json
from nnunet_ext.files.label_file import write_label_map
from nnunet_ext.processes.workers import Workers

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

STATE = "postprocessing.json"  # in the output: the rules
BESIDE = ("dataset.json", "plans.json")  # nnU-Net's commands read them beside label maps


@dataclass(frozen=True)
class ProcessedCase:
    """What became of a case.

    Args:
        name: The case.
        voxels: That have another label now.
    """

    name: str
    voxels: int


def postprocess_folder(
    rules: RulesFile, predictions: Path, output: Path, *, processes: int = 1, show_progress: bool = True
) -> list[ProcessedCase]:
    """Write post-processed label maps; those that an earlier call has written, and that are not older, are kept.

    Args:
        rules: The rules.
        predictions: Folder of label maps; dataset.json in it, if there is one, must have the labels of the rules.
        output: Another folder; made if it is not there.
        processes: Worker processes; each has one case in memory.
        show_progress: Show a progress bar.

    Returns:
        The cases written now, by name.

    Raises:
        UserError: A label map is damaged or has labels that the rules do not know; or the output holds something else.
    """
    description = predictions / BESIDE[0]
    chosen = rules.reader
    if description.is_file():
        content = read_object(description)
        rules.check(content, description)
        chosen = content.get(READER, chosen)
    files = some_cases(label_files(predictions, rules.ending), predictions, f"label maps CASE{rules.ending}")
    reader = find_reader(
        {"file_ending": rules.ending} | ({READER: chosen} if chosen else {}), next(iter(files.values()))
    )
    _claim(output, predictions, rules)
    for name in BESIDE:
        if (predictions / name).is_file():
            shutil.copyfile(predictions / name, output / name)
    wanted = [file for file in files.values() if not _is_newer(output / file.name, file)]
    job = partial(postprocess_case, rules=rules, reader=reader, output=output)
    try:
        with Workers(min(processes, len(wanted))) as workers:
            done = tqdm(workers.each(job, wanted), "cases", len(wanted), unit="case", disable=not show_progress)
            return sorted(done, key=lambda case: case.name)
    except BrokenProcessPool as error:
        raise UserError(
            f"{predictions}: expected to post-process with {processes} processes, one was killed: there is probably "
            f"too little memory. Run it again with -np 1: what is done is kept."
        ) from error


def postprocess_case(file: Path, rules: RulesFile, reader: BaseReaderWriter, output: Path) -> ProcessedCase:
    """Post-process one label map.

    Args:
        file: The label map.
        rules: The rules.
        reader: nnU-Net's reader and writer; what it notes of the file's geometry is written again.
        output: Folder.

    Raises:
        UserError: It is damaged, or has a label that the rules do not know.
    """
    array, properties = read_image(reader, file, label=True)
    values, grid = whole_labels(array[0], properties, file)
    before = LabelMap.checked(values, grid, file, rules.labels)
    after = processed(before, rules.rules, rules.structures)
    write_label_map(reader, after.labels, output / file.name, properties)
    changed = 0 if after is before else int(np.count_nonzero(after.labels != before.labels))
    return ProcessedCase(file.name.removesuffix(rules.ending), changed)


def _claim(output: Path, predictions: Path, rules: RulesFile) -> None:
    """Make the output, or take over what an earlier call with the same rules has written."""
    identity = {"rules": rules.as_json(), "predictions": str(predictions.resolve())}
    state = output / STATE
    if state.is_file():
        if read_object(state) != identity:
            raise UserError(
                f"{state}: expected the same rules and predictions as now, found others. Choose another -o."
            )
        return
    if output.is_dir() and any(output.iterdir()):
        raise UserError(f"{output}: expected a new or empty folder, found other files. Choose another -o.")
    output.mkdir(parents=True, exist_ok=True)
    write_json(state, identity)


def _is_newer(file: Path, source: Path) -> bool:
    return file.is_file() and file.stat().st_mtime_ns >= source.stat().st_mtime_ns
