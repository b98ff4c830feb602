"""A model as ``model.tar.gz``, which the platform unpacks to ``/opt/ml/model``."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

import torch
from tqdm import tqdm

from nnunet_ext.data.plans_file import read_plans
from nnunet_ext.errors import UserError
from nnunet_ext.export.handed_over_model import DATASET, PLANS, HandedOverModel
from nnunet_ext.files.json_file import read_object, whole_file
from nnunet_ext.prediction.model_zip import unpack_model

FILE = "model.tar.gz"


@contextlib.contextmanager
def model_folder_of(model: Path, checkpoint: str) -> Iterator[Path]:
    """``with model_folder_of(model, checkpoint) as folder:`` the folder itself, or a zip file's, unpacked meanwhile.

    Raises:
        UserError: There is no model.
    """
    if not model.is_file():
        if not (model / PLANS).is_file():
            raise UserError(
                f"{model / PLANS}: expected that of a trained model, found no file. Give the folder that holds fold_0, "
                f"or a zip file."
            )
        yield model.absolute()
        return
    with TemporaryDirectory(prefix="nnunet_ext_model_") as place:
        yield unpack_model(model, Path(place), checkpoint)


def write_model_tar(
    model: Path, folds: Sequence[str], checkpoint: str, file: Path, *, show_progress: bool = True
) -> None:
    """Write what prediction needs of a model: plans.json, dataset.json, the checkpoints' weights.

    As in a zip file by ``nnunet_ext export``, nothing names a path or a case, and what serves only to continue the
    training is left out.

    Args:
        model: Folder ``TRAINER__PLANS__CONFIGURATION``.
        folds: Names of the folds.
        checkpoint: Name of the checkpoint.
        file: The file to write.
        show_progress: Show bars over the folds.

    Raises:
        UserError: The model is damaged or its trainer is not installed, or the file cannot be written.
    """
    made = HandedOverModel.read(model, folds, checkpoint, None, show_progress)
    described = made.content.dataset_json(read_object(model / DATASET))
    contents = {PLANS: made.content.plans(read_plans(model / PLANS)), DATASET: described}
    with (
        whole_file(file) as partial,
        partial.open("wb") as stream,
        gzip.GzipFile("", "wb", 1, stream, mtime=0) as packed,  # equal models are equal files; weights hardly compress
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, content in contents.items():
            _add(archive, name, io.BytesIO(json.dumps(content, indent=4).encode()))
        for fold in tqdm(made.folds, desc="folds", disable=not show_progress):
            with TemporaryFile() as weights:
                torch.save(made.checkpoint(fold), weights)
                weights.seek(0)
                _add(archive, f"fold_{fold}/{checkpoint}", weights)


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes]) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = content.seek(0, io.SEEK_END)
    content.seek(0)
    archive.addfile(entry, content)
