"""nnU-Net's variables as users set them: obvious mistakes are found before a folder is created."""

from __future__ import annotations

import os
from pathlib import Path

from nnunet_ext.errors import UserError

VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
QUOTES = "'\"`\u2018\u2019\u201c\u201d"


def check_variables() -> None:
    """Refuse a variable of nnU-Net with an obviously wrong value; an unset one is not a mistake here.

    Raises:
        UserError: Quotation marks, blanks, a ``~`` or a ``$`` that no shell replaced, or one folder for two variables.
    """
    for variable in VARIABLES:
        if (problem := variable_problem(variable)) is not None:
            raise UserError(problem)


def variable_problem(variable: str) -> str | None:
    """Return what is wrong with the text of a variable, and the remedy in one line; None if nothing is."""
    value = os.environ.get(variable, "")
    if not value.strip():
        return None
    remedy = f"export {variable}={_meant(value)}"
    start = f"{variable}={value}: expected the path of a folder"
    if value != value.strip():
        return f"{start}, got blanks around it. {remedy}"
    if value[0] in QUOTES or value[-1] in QUOTES:
        return f"{start}, got quotation marks as part of it. {remedy}"
    if value.startswith("~"):
        return f"{start}, got a '~' that no shell replaced. {remedy}"
    if "$" in value and not Path(value).exists():
        return f"{start}, got a '$' that no shell replaced. {remedy}"
    place = os.path.realpath(value)
    for other in VARIABLES:
        if other != variable and os.environ.get(other) and os.path.realpath(os.environ[other]) == place:
            return f"{start} of its own, got that of {other}. export {variable}=/another/folder"
    return None


def _meant(value: str) -> str:
    """The value as a shell and a careful user would write it."""
    return os.path.expandvars(os.path.expanduser(value.strip().strip(QUOTES).strip()))
