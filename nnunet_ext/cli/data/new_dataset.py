"""Where a dataset goes that a command makes from another one."""

from __future__ import annotations

from pathlib import Path

from nnunet_ext.errors import UserError
from nnunet_ext.stock import folders


def new_dataset_place(number: int, name: str | None, source: Path, *, writable: bool = True) -> Path:
    """Return its folder in nnUNet_raw, which need not exist.

    Args:
        number: Its number, after ``-o``.
        name: Its name without the number; None: that of the source.
        source: The other dataset's folder.
        writable: Whether nnUNet_raw must be.

    Raises:
        UserError: It is the other dataset's folder, the number belongs to a dataset of another name, or nnU-Net cannot
            use the name.
    """
    from nnunet_ext.collection.manifest import check_dataset_name
    from nnunet_ext.stock.folders import Folders

    if not 1 <= number <= 999:
        raise UserError(f"-o {number}: expected a number from 1 to 999, got {number}. Choose a free one.")
    raw = folders.folder("nnUNet_raw", writable=writable)
    found = f"Dataset{number:03d}_{name or source.name[11:]}"
    if (raw / found).absolute() == source.absolute():
        raise UserError(
            f"-o {number}: expected the number of a new dataset, got that of the other one. Choose another."
        )
    check_dataset_name(found, raw / found)
    others = (folders.if_there(variable) for variable in ("nnUNet_preprocessed", "nnUNet_results"))
    Folders(raw, *others).check_number(found, "-o")
    return raw / found
