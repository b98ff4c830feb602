"""Write the tables of knobs in ``docs/`` from the methods' cards.

    python tools/knob_tables.py            # writes them
    python tools/knob_tables.py --check    # exit code 1 if a page differs

A page holds the line ``<!-- knobs: ba_net.* unlabelled.ramp -->``; the table after it is replaced. ``ba_net.*`` stands
for all knobs of that method.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from nnunet_ext.base.knobs import GENERAL
from nnunet_ext.base.method import Knob, methods

DOCS = Path(__file__).parents[1] / "docs"
TABLE = re.compile(r"(<!-- knobs: (?P<names>[^>]*?) -->\n)(?:\|.*\n)*")


def knobs(names: str) -> Iterator[tuple[str, Knob]]:
    """Yield each knob with its full name."""
    cards = methods()
    for name in names.split():
        key, _, knob = name.rpartition(".")
        for each in cards[key].knobs if key else GENERAL:
            if knob in ("*", each.name):
                yield f"{key}.{each.name}" if key else each.name, each


def table(names: str) -> str:
    """Return the table, in Markdown."""
    lines = ["| knob | default | meaning |", "|---|---|---|"]
    for name, knob in knobs(names):
        default = f"{knob.default:.4g}" if isinstance(knob.default, float) else json.dumps(knob.default)
        lines.append(f"| `{name}` | {default} | {knob.help}; {knob.expected} |")
    return "".join(f"{line}\n" for line in lines)


def written(page: str) -> str:
    """Return a page with its tables."""
    return TABLE.sub(lambda found: found[1] + table(found["names"]), page)


def main() -> int:
    """Write or check all pages."""
    differing = [
        page for page in sorted(DOCS.glob("*.md")) if written(page.read_text("utf-8")) != page.read_text("utf-8")
    ]
    if "--check" in sys.argv:
        print(
            *(
                f"{page}: its table of knobs differs from the cards. Run python tools/knob_tables.py"
                for page in differing
            )
        )
        return int(bool(differing))
    for page in differing:
        page.write_text(written(page.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
