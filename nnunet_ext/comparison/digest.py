"""What a run of ``nnunet_ext compare`` depends on, as hashes: its plans and the files that it scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nnunet_ext.base import knobs
from nnunet_ext.data.preprocessed.data_hash import preprocessing_hash
from nnunet_ext.errors import UserError

CHUNK = 1 << 20


def plans_digest(folder: Path, plans: dict[str, Any], configuration: str) -> str:
    """Hash what a configuration is trained with, except for the knobs at the top level of the plans.

    Args:
        folder: The dataset's folder in nnUNet_preprocessed; the labels of its dataset.json count.
        plans: The plans.
        configuration: Its name.

    Returns:
        SHA-256 of the preprocessing's hash, the configuration with all that it inherits, and its own knobs.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = {key: value for key, value in plans.items() if key != knobs.BLOCK}
    resolved = PlansManager(plans).get_configuration(configuration).configuration
    content = [
        preprocessing_hash(folder, plans, resolved),
        {key: value for key, value in resolved.items() if key != knobs.BLOCK},
        [block for _, block in knobs.blocks(plans, configuration)],
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def files_digest(files: Iterable[Path]) -> str:
    """Hash the bytes of files, in this order: SHA-256 of their SHA-256.

    Raises:
        UserError: A file cannot be read.
    """
    return hashlib.sha256("".join(map(_file_digest, files)).encode()).hexdigest()


def _file_digest(file: Path) -> str:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise UserError(f"{file}: expected a file to score, got {error.strerror!r}. Restore it.") from error
    return digest.hexdigest()
