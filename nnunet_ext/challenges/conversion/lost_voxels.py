"""What merged labels do not hold of the masks, over all cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nnunet_ext.evaluation.markdown_table import markdown_table

HEAD = ("structure", "voxels", "lost", "lost %", "added", "cases")


def lost_voxels(records: Iterable[Mapping[str, Any]]) -> str:
    """Return a table of the structures that lost or gained voxels, empty if there are none.

    Args:
        records: Of the cases, as in ``conversion.json``; those of labels that were not merged say nothing.
    """
    merged = [record for record in records if "lost" in record]
    names = dict.fromkeys(name for record in merged for key in ("voxels", "gained") for name in record[key])
    rows = []
    for name in names:
        voxels, lost, gained = (
            sum(record[key].get(name, 0) for record in merged) for key in ("voxels", "lost", "gained")
        )
        if lost or gained:
            cases = sum(name in record["lost"] or name in record["gained"] for record in merged)
            share = f"{100 * lost / voxels:.2f}" if voxels else ""
            rows.append((name, str(voxels), str(lost), share, str(gained), str(cases)))
    return markdown_table([HEAD, *rows]) if rows else ""
