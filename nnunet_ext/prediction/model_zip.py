"""The zip file of a model, as ``nnUNetv2_export_model_to_zip`` writes it."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from nnunet_ext.errors import UserError, one_line

NEEDED = ("plans.json", "dataset.json")


def unpack_model(file: Path, folder: Path, checkpoint: str) -> Path:
    """Unpack what prediction needs of the one model in a zip file.

    Args:
        file: The zip file: ``Dataset004_Hippocampus/TRAINER__PLANS__CONFIGURATION/plans.json`` and so on.
        folder: An empty folder.
        checkpoint: Name of the checkpoints to unpack.

    Returns:
        The model's folder in ``folder``.

    Raises:
        UserError: It is no zip file, is damaged, holds no model or several, or a path in it leaves the folder.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if leaving := [name for name in names if _leaves(name)]:
                raise UserError(
                    f"{file}: expected paths inside the model, found {leaving[0]!r}, which leads out of it. Do not use "
                    f"this file."
                )
            model = _only_model(file, names)
            for name in names:
                path = PurePosixPath(name)
                is_checkpoint = path.name == checkpoint and path.parent.parent == model
                if is_checkpoint or (path.name in NEEDED and path.parent == model):
                    archive.extract(name, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise UserError(
            f"{file}: expected a model's folder or an intact zip file of one, got {one_line(error)}. Copy it again."
        ) from error
    return folder / model


def _leaves(name: str) -> bool:
    windows = PureWindowsPath(name)  # it takes both kinds of slashes
    return ".." in windows.parts or bool(windows.anchor)


def _only_model(file: Path, names: list[str]) -> PurePosixPath:
    folders = [{PurePosixPath(name).parent for name in names if PurePosixPath(name).name == each} for each in NEEDED]
    found = sorted(map(str, folders[0] & folders[1]))
    if len(found) != 1:
        raise UserError(
            f"{file}: expected one model, found {', '.join(found) or 'none'}. Unpack it with "
            f"nnUNetv2_install_pretrained_model_from_zip, and give a model's folder."
        )
    return PurePosixPath(found[0])
