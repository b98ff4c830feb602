"""The zip file of a model, as ``nnUNetv2_export_model_to_zip`` writes it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from nnunet_ext.errors import UserError
from nnunet_ext.foreign.zip_file import ForeignZip

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
        UserError: It is no zip file, is damaged, holds no model with such a checkpoint or several, or has an entry
            that :class:`ForeignZip` refuses, such as a path that leaves the folder.
    """
    with ForeignZip(file, of="model") as archive:
        model = _only_model(file, archive.names, checkpoint)
        wanted = []
        for name in archive.names:
            path = PurePosixPath(name)
            is_checkpoint = path.name == checkpoint and path.parent.parent == model
            if is_checkpoint or (path.name in NEEDED and path.parent == model):
                wanted.append(name)
        archive.extract(wanted, folder)
    return folder / model


def _only_model(file: Path, names: list[str], checkpoint: str) -> PurePosixPath:
    """Return the only folder with both JSON files and a checkpoint: cross-validation results have the files as well."""
    paths = [PurePosixPath(name) for name in names]
    with_file = [{path.parent for path in paths if path.name == each} for each in NEEDED]
    trained = {path.parent.parent for path in paths if path.name == checkpoint and path.parent.name.startswith("fold_")}
    found = sorted(map(str, with_file[0] & with_file[1] & trained))
    if len(found) != 1:
        raise UserError(
            f"{file}: expected one model with {checkpoint} in a fold, found {', '.join(found) or 'none'}. Unpack it "
            f"with nnUNetv2_install_pretrained_model_from_zip, and give a model's folder."
        )
    return PurePosixPath(found[0])
