"""The demo's folder and data."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

from nnunet_ext.data.companion_files import link_label, links
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.files.link import link
from nnunet_ext.files.system_files import files_in
from nnunet_ext.processes.run_lock import NAME as LOCK
from nnunet_ext.stock import folders

MARKER = ".nnunet_ext_demo"  # only a folder with this file is ever emptied
PHANTOM = "Dataset999_Phantom"


class Unseen(NamedTuple):
    """Cases that no training sees: the folders of their images and labels, and a description."""

    images: Path
    labels: Path
    origin: str


def check_data(data: Path, out: Path) -> None:
    """Refuse what is not a raw nnU-Net dataset, and data that :func:`start_folder` would delete.

    Raises:
        UserError: One of the two.
    """
    if not re.fullmatch(r"Dataset\d{3}_.+", data.resolve().name) or not (data / "dataset.json").is_file():
        raise UserError(
            f"--data {data}: expected a raw nnU-Net dataset, DatasetXXX_Name with dataset.json, imagesTr and "
            f"labelsTr, found none. See nnU-Net's documentation/dataset_format.md."
        )
    if data.resolve().is_relative_to(out.resolve()):
        raise UserError(f"--data {data}: expected a folder outside --out {out}, which is emptied. Choose another.")


def start_folder(out: Path) -> None:
    """Create ``out``, or empty it if it is an earlier demo's.

    Raises:
        UserError: It holds something else, or cannot be written.
    """
    try:
        if {path.name for path in files_in(out)} - {LOCK} and not (out / MARKER).is_file():
            raise UserError(f"--out {out}: expected a new or empty folder, or an earlier demo's, found other files.")
        for path in out.iterdir() if out.is_dir() else ():
            if path.name in (MARKER, LOCK):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        out.mkdir(parents=True, exist_ok=True)
        (out / MARKER).touch()
    except OSError as error:
        raise UserError(
            f"--out {out}: expected a folder that can be written, got {error.strerror!r}. Choose another."
        ) from error


def bring_data(raw: Path, data: Path | None) -> Path:
    """Put the user's dataset, or else phantoms, into ``raw``; return its folder there."""
    raw.mkdir()
    if data is None:
        from nnunet_ext.phantoms.dataset import write_phantom_dataset

        return write_phantom_dataset(raw, PHANTOM, cases=20, unseen=6, shape=(20, 64, 56), spacing=(2.5, 1.0, 1.0))
    place = raw / data.resolve().name
    link(data, place)
    return place


def unseen_cases(dataset: Path, splits: Path, out: Path) -> Unseen:
    """Link the cases that no training sees into ``out``: those of ``labelsTs``, or else fold 0's validation cases.

    Args:
        dataset: Raw dataset.
        splits: nnU-Net's ``splits_final.json``, written when training begins.
        out: The demo's folder.
    """
    raw = RawDataset.read(dataset)
    ending = raw.file_ending
    if labels := [file for file in files_in(dataset / "labelsTs") if file.name.endswith(ending)]:
        origin = "labelled cases of imagesTs"
        named = {label.name.removesuffix(ending): label for label in labels}
        cases = [Case(name, image_files(dataset / "imagesTs", name, ending), label) for name, label in named.items()]
    else:
        origin = "fold 0's validation cases, as the dataset has no labelsTs"
        validated = set(folders.read_json(splits)[0]["val"])
        cases = [case for case in raw.cases() if case.name in validated]
    unseen = Unseen(out / "unseen" / "images", out / "unseen" / "labels", origin)
    unseen.images.mkdir(parents=True)
    unseen.labels.mkdir()
    for case in cases:
        for target, file in links(case.images, unseen.images, case.name, ending).items():
            link(file, target)
        if case.label is not None:
            link_label(case.label, unseen.labels / f"{case.name}{ending}")
    return unseen


def image_files(images: Path, case: str, ending: str) -> tuple[Path, ...]:
    """Return a case's files, one per channel, in order."""
    return tuple(sorted(images.glob(f"{case}_[0-9][0-9][0-9][0-9]{ending}")))
