"""Names of cases: each becomes part of file names, beside files that nnU-Net names itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nnunet_ext.data.image_case import Case
from nnunet_ext.errors import UserError, more

LEGAL = re.compile(r"(?!\.)[^/\\\x00-\x1f]+(?<!_seg)")
LONGEST = 255 - len("_seg.b2nd")  # bytes; most file systems take 255 for a file's name
# written beside predictions; nnU-Net gives each predicted .tif a CASE.json
JSON_NAMES = ("dataset", "plans", "predict_from_raw_data_args", "summary", "postprocessing")


def check_case_names(cases: Sequence[Case]) -> None:
    """Refuse cases that are to be preprocessed under a name that breaks a file system or nnU-Net's own names.

    Raises:
        UserError: The first of them.
    """
    problems = [problem for case in cases if (problem := _problem(case)) is not None]
    if problems:
        raise UserError(problems[0] + more(len(problems) - 1))


def _problem(case: Case) -> str | None:
    name, place = case.name, case.images[0] if case.images else case.label
    if name.endswith("_seg"):
        reason = "not ending in '_seg', because nnU-Net takes its data for the label of another and never trains on it"
    elif LEGAL.fullmatch(name) is None:
        reason = "without '/', '\\' or control characters and not starting with '.', because it becomes a file's name"
    elif len(name.encode()) > LONGEST:
        reason = f"of at most {LONGEST} bytes, because it becomes part of a file's name"
    elif name in JSON_NAMES and place is not None and place.suffix.lower() in (".tif", ".tiff"):
        reason = f"otherwise, because nnU-Net writes {name}.json itself and one for each .tif"
    else:
        return None
    return f"{place}: expected a case named {reason}, got {name!r}. Rename it."
