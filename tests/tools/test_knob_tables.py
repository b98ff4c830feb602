"""The tables of knobs in the docs are those of the cards."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

from nnunet_ext.base.method import methods

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "knob_tables.py"


def test_the_docs_hold_what_the_cards_say() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr


def test_every_method_with_knobs_has_its_table() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    for key, method in methods().items():
        for knob in method.knobs:
            assert f"| `{key}.{knob.name}` |" in pages, (
                f"{key}.{knob.name}: expected in a table in docs/, found in none. Put the line <!-- knobs: {key}.* --> "
                f"into docs/{key}.md and run python tools/knob_tables.py"
            )


def test_a_page_that_differs_is_told_and_written() -> None:
    written = runpy.run_path(str(SCRIPT))["written"]
    page = "# Page\n\n<!-- knobs: ba_net.boundary_width save_every -->\n| old |\n\nMore.\n"
    found = written(page).splitlines()
    assert found[3:5] == ["| knob | default | meaning |", "|---|---|---|"]
    assert found[5].startswith("| `ba_net.boundary_width` | 3 | ")
    assert found[6].startswith("| `save_every` | 1 | ")
    assert found[7:] == ["", "More."]
    assert written(written(page)) == written(page)
