"""The site of each case: what is checked."""

import json
from pathlib import Path

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.sites.site_table import read_sites

CASES = ("a1", "a2", "b1")


def refusal(tmp_path: Path, content: object) -> str:
    file = tmp_path / "sites.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError) as caught:
        read_sites(file, CASES, "Dataset004_Heart")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{file}: ")


def test_sites(tmp_path: Path):
    sites = {"a1": "A", "a2": "A", "b1": "B"}
    (tmp_path / "sites.json").write_text(json.dumps(sites))
    assert read_sites(tmp_path / "sites.json", CASES, "Dataset004_Heart") == sites


def test_what_is_refused(tmp_path: Path):
    good = {"a1": "A", "a2": "A", "b1": "B"}
    assert "unknown case 'b2' of Dataset004_Heart. Did you mean 'b1'?" in refusal(tmp_path, good | {"b2": "B"})
    assert "found none for 'a1' (and 1 more case). Add it." in refusal(tmp_path, {"b1": "B"})
    assert "expected at least two sites, found 'A' alone" in refusal(tmp_path, good | {"b1": "A"})
    for wrong in (1, None, " ", "B\nC"):
        assert f"expected the name of a site for case 'b1', got {wrong!r}" in refusal(tmp_path, good | {"b1": wrong})
    for wrong in ("a", " A", "A "):
        assert f"found 'A' and {wrong!r}. A model would train on the site that it is tested on" in refusal(
            tmp_path, good | {"a2": wrong}
        )
    zurich = "Z\N{LATIN SMALL LETTER U WITH DIAERESIS}rich", "Zu\N{COMBINING DIAERESIS}rich"  # one or two characters
    assert "found 'Z" in refusal(tmp_path, {"a1": zurich[0], "a2": zurich[1], "b1": "B"})
    for wrong in ([], {}, "A"):
        assert "expected the site of each case" in refusal(tmp_path, json.dumps(wrong))
    assert "found 'a1' twice" in refusal(tmp_path, '{"a1": "A", "a1": "B"}')
    assert "expected JSON, got" in refusal(tmp_path, "{")
