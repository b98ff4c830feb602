"""The packages of the extra ``dicom``, which are looked for before any of them is imported."""

from __future__ import annotations

import importlib.util

from nnunet_ext.errors import UserError

PACKAGES = ("pydicom", "highdicom")


def require_dicom(wanted_by: str) -> None:
    """Refuse to go on without the packages of the extra ``dicom``.

    Args:
        wanted_by: What needs them, such as an option.

    Raises:
        UserError: One of them is not installed.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"{wanted_by}: expected the packages {' and '.join(PACKAGES)}, found no {' and no '.join(missing)}. Run "
            f"pip install 'nnunet_ext[dicom]', or pip install {' '.join(missing)}."
        )
