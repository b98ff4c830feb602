"""The page: order, escaping, no network, and its size."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from nnunet_ext.quality.case_quality import CaseQuality
from nnunet_ext.quality.page import page
from nnunet_ext.quality.reason import Reason

ATTACK = "<script>alert('1')</script>"
QUOTED = '"><img src=x onerror=alert(2)>'
IMAGE = "data:image/png;base64,AAAA"


class Parsed(HTMLParser):
    """Tags with their attributes, and the text of the table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    def of(self, tag):
        return [attributes for each, attributes in self.tags if each == tag]


@pytest.fixture
def cases():
    return [
        CaseQuality("usual", [Reason("place", "too weak", 0.1)], {"organ": 10.0}, picture=IMAGE),
        CaseQuality(ATTACK, [Reason("volume", f"{QUOTED}: 1 ml", 0.6), Reason("place", "grey", 0.3)], {QUOTED: 1.0}),
        CaseQuality(QUOTED, [Reason("file", ATTACK)], failed=True),
    ]


def made(cases):
    return page(cases, {1: QUOTED, 2: "wall"}, title=ATTACK, facts={"model": QUOTED})


def test_suspicious_first_without_any_script(cases):
    found = Parsed(made(cases))
    assert [row["data-case"] for row in found.of("tr")[1:]] == [QUOTED, ATTACK, "usual"]
    assert [row["class"] for row in found.of("tr")[1:]] == ["suspicious", "suspicious", "usual"]
    assert [row["data-suspicion"] for row in found.of("tr")[1:]] == ["1.0000", "0.6000", "0.1000"]
    assert [row["data-size"] for row in found.of("tr")[1:]] == ["0", "1", "10"]
    assert [row["data-reasons"] for row in found.of("tr")[1:]] == ["1", "2", "0"]
    text = "".join(found.text)
    assert "2 of 3 cases have a suspicion of 0.5 or more." in text
    assert "nothing unusual" in text
    assert "too weak" not in text
    assert [each.get("class") for each in found.of("li")] == [None, None, "weak", "weak"]
    assert "organ: 10 ml" in text


def test_all_text_is_escaped(cases):
    found = Parsed(made(cases))
    text = "".join(found.text)
    assert len(found.of("script")) == 1
    assert [image["src"] for image in found.of("img")] == [IMAGE]
    assert not any("onerror" in attributes for _, attributes in found.tags)
    assert text.count(ATTACK) == 4  # title, heading, case, reason
    assert text.count(QUOTED) == 5  # fact, legend, case, reason, size
    assert ATTACK not in made(cases)


def test_nothing_is_loaded(cases):
    text = made(cases)
    assert re.findall(r"https?:|//[a-z]|url\(|@import|<link|<iframe", text) == []
    found = Parsed(text)
    sources = [value for _, attributes in found.tags for name, value in attributes.items() if name in ("src", "href")]
    assert sources == [IMAGE]
    (policy,) = [each["content"] for each in found.of("meta") if "http-equiv" in each]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_columns_can_be_sorted_by_what_rows_hold(cases):
    found = Parsed(made(cases))
    keys = [button["data-key"] for button in found.of("button")]
    assert keys == ["suspicion", "case", "reasons", "size"]
    assert all({f"data-{key}" for key in keys} <= set(row) for row in found.of("tr")[1:])


def test_two_hundred_cases_of_a_hundred_classes_are_at_most_twenty_megabytes():
    sizes = {f"a class with a long name {number}": 1.5 for number in range(100)}
    reasons = [Reason("volume", "a sentence of a usual length, as it is about a class" * 2, 0.6)] * 20
    image = IMAGE + "A" * 70_000  # of test_picture.py
    many = [CaseQuality(f"case_{number}", reasons, sizes, picture=image) for number in range(200)]
    assert len(page(many, {}, title="many", facts={})) < 20_000_000
