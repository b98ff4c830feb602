"""The folder that an annotator gets: drafts, images, table; nothing in it that a person made is replaced."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_ext.data.companion_files import links, spacing_file
from nnunet_ext.data.image_case import Case
from nnunet_ext.errors import UserError
from nnunet_ext.files.file_stamp import FileStamp
from nnunet_ext.files.json_file import read_object, write_json, write_text
from nnunet_ext.files.link import link
from nnunet_ext.files.system_files import files_in

RECORD = "next_cases.json"
SCRATCH = ".next_cases-"
LABELS, IMAGES = "labelsTr", "imagesTr"
README = """Cases to annotate next, chosen by nnunet_ext next_cases: {cases}.

next_cases.csv says why, in the order in which to annotate them, and where to look first.

labelsTr has DRAFTS: label maps as the model predicts them. They are not truth. Look at every case and correct it; a
draft that nobody corrected teaches the network its own mistakes.

imagesTr has links to the images (copies where there are no links). When all drafts are corrected, add them to the raw
dataset (-n replaces no file, -L copies what a link points to):

    cp -n labelsTr/* DATASET/labelsTr/
    cp -nL imagesTr/* DATASET/imagesTr/

Then set numTraining in its dataset.json (if that lists the cases under "dataset", add them there), and preprocess
again. nnU-Net trains a fold only with the cases that nnUNet_preprocessed/DATASET/splits_final.json lists: add the new
cases to the training cases there, or delete the file, and nnU-Net draws new folds.
"""


class OutputFolder:
    """OUT of the command, with what earlier calls wrote there.

    Args:
        folder: The folder; it need not exist.
        ending: File ending of images and label maps.
    """

    def __init__(self, folder: Path, ending: str) -> None:
        self.folder = folder
        self._ending = ending

    def check(self) -> None:
        """Refuse a folder in which something would be lost.

        Raises:
            UserError: Files of an earlier call were changed, or there are others in their places.
        """
        stamps = self._stamps()
        for name in (LABELS, IMAGES):
            place = self.folder / name
            if place.exists() and not place.is_dir():
                raise UserError(f"{place}: expected a folder, found a file. Choose another -o, or move it away.")
        for name in self._present():
            file = self.folder / name
            if name not in stamps:
                raise UserError(
                    f"{file}: expected only what an earlier nnunet_ext next_cases wrote, found another file. Choose "
                    f"another -o, or move it away."
                )
            if not self._is_as_written(file, stamps[name]):
                raise UserError(
                    f"{file}: expected the file as it was written, found it changed. Choose another -o, so that no "
                    f"correction is lost, or move {self.folder} away."
                )

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """``with output.scratch() as folder:`` a new folder on the same disk; those of killed calls are removed.

        The caller holds the lock of the folder: no other call is running.
        """
        for left in self.folder.glob(f"{SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        # not in the system's folder for such files, which can be kept in memory
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=self.folder) as folder:
            yield Path(folder)

    def write(self, cases: Sequence[Case], drafts: Path, texts: Mapping[str, str]) -> None:
        """Replace what an earlier call wrote.

        Args:
            cases: The chosen cases, in order.
            drafts: Folder of their label maps, on the same disk; they are moved.
            texts: Text by name of file, such as the table.

        Raises:
            UserError: :meth:`check` refuses the folder now, or it cannot be written.
        """
        self.check()
        labels = [file for case in cases for file in _with_spacing(drafts / f"{case.name}{self._ending}")]
        pictures: dict[Path, Path] = {}
        for case in cases:
            pictures |= links(case.images, self.folder / IMAGES, case.name, self._ending)
        texts = {**texts, "README.txt": README.format(cases=", ".join(case.name for case in cases))}
        for name in self._present():
            (self.folder / name).unlink()
        # first of all: what is there after a kill is known as ours
        others: list[str] = [*(f"{IMAGES}/{file.name}" for file in pictures), *texts]
        record: dict[str, list[Any] | None] = dict.fromkeys(others)
        record |= {f"{LABELS}/{file.name}": FileStamp.of(file).as_json() for file in labels}
        write_json(self.folder / RECORD, {"files": record}, indent=1)
        for name in (LABELS, IMAGES):
            (self.folder / name).mkdir(exist_ok=True)
        for file in labels:
            os.replace(file, self.folder / LABELS / file.name)
        for target, source in pictures.items():
            link(source, target)
        for name, text in texts.items():
            write_text(self.folder / name, text)
        for name in others:  # an annotator may write notes into the table
            if not (self.folder / name).is_symlink():
                record[name] = FileStamp.of(self.folder / name).as_json()
        write_json(self.folder / RECORD, {"files": record}, indent=1)

    def _is_as_written(self, file: Path, stamp: FileStamp | None) -> bool:
        if stamp is not None:
            return file.is_file() and not file.is_symlink() and stamp.fits(file)
        return file.is_symlink() or file.parent == self.folder  # a link; or a text of a call that was killed

    def _stamps(self) -> dict[str, FileStamp | None]:
        file = self.folder / RECORD
        if not file.is_file():
            return {}
        try:
            recorded = read_object(file)["files"].items()
            return {name: None if stamp is None else FileStamp(*stamp) for name, stamp in recorded}
        except (KeyError, AttributeError, TypeError) as error:
            raise UserError(
                f"{file}: expected the record of nnunet_ext next_cases, found another. Choose another -o."
            ) from error

    def _present(self) -> list[str]:
        """Files in the places of our own."""
        found = [name for name in ("next_cases.csv", "next_cases.html", "README.txt") if (self.folder / name).exists()]
        for name in (LABELS, IMAGES):
            found += [f"{name}/{file.name}" for file in files_in(self.folder / name)]
        return found


def _with_spacing(label: Path) -> list[Path]:
    beside = spacing_file(label, label=True)
    return [label, *([beside] if beside is not None and beside.is_file() else [])]
