"""A JSON file that says which site each case is from: ``{"case_1": "Bern", "case_2": "Oslo"}``."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from pathlib import Path

from nnunet_ext.errors import UserError, more, nearest
from nnunet_ext.files.json_file import read_json


def read_sites(file: Path, cases: Collection[str], dataset: str, unused: Collection[str] = ()) -> dict[str, str]:
    """Return the site of each case.

    Args:
        file: The file.
        cases: The dataset's cases, all of which it must name.
        dataset: Name of the dataset, for messages.
        unused: Further cases, which it may name; their sites are not returned.

    Raises:
        UserError: It is not such an object, lacks a case, names an unknown one or one twice, spells a site in two ways,
            or there is only one site.
    """
    found = read_json(file, unique=True)
    if not isinstance(found, dict) or not found:
        raise UserError(
            f'{file}: expected the site of each case, {{"CASE": "SITE", ...}}, got something else. Write it.'
        )
    for case, site in found.items():
        if case not in cases and case not in unused:
            raise UserError(f"{file}: unknown case {case!r} of {dataset}. {nearest(case, cases)}")
        if not isinstance(site, str) or not site.strip() or not site.isprintable():
            raise UserError(f"{file}: expected the name of a site for case {case!r}, got {site!r}. Write it in quotes.")
    found = {case: site for case, site in found.items() if case not in unused}
    if missing := sorted(set(cases) - set(found)):
        raise UserError(
            f"{file}: expected a site for every case of {dataset}, found none for {missing[0]!r}"
            f"{more(len(missing) - 1)}. Add it."
        )
    spelt: dict[str, str] = {}
    for site in found.values():
        if (first := spelt.setdefault(unicodedata.normalize("NFKC", "".join(site.split())).casefold(), site)) != site:
            raise UserError(
                f"{file}: expected one spelling of each site, found {first!r} and {site!r}. A model would train on the "
                f"site that it is tested on. Write both alike, or give them other names."
            )
    if len(names := set(found.values())) == 1:
        raise UserError(
            f"{file}: expected at least two sites, found {names.pop()!r} alone. One is left out of each fold."
        )
    return found
