"""Labels become numbers where nnU-Net takes them; keys of ours are known by their content."""

import json
from pathlib import Path

import pytest

from nnunet_ext.data.dataset_json import (
    HIDDEN,
    TEST,
    foreground,
    is_collection,
    not_annotated,
    part_record,
    read_dataset_json,
    scored_names,
    with_numbers,
)
from nnunet_ext.errors import UserError

ORDINARY = {"labels": {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}, "file_ending": ".png", "numTraining": 2}
PART = {"dataset": "Dataset004_A", "collection": "Dataset900_B", "task": "a"}
ENTRY = {"images": ["a_0000.png"], "label": "a.png"}


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ({"tasks": {"a": {"dataset": "Dataset001_A"}}}, True),
        ({"tasks": {}, "labels": {}}, True),  # a manifest with a mistake
        (ORDINARY | {"tasks": "segmentation"}, False),
        (ORDINARY, False),
    ],
)
def test_collections(description, expected):
    assert is_collection(description) is expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (PART, PART),
        ({"dataset": "Dataset004_A"}, None),
        (PART | {"url": "https://example.org"}, None),
        (PART | {"dataset": "TCIA"}, None),
        (PART | {"dataset": 4}, None),
        ("https://example.org", None),
    ],
)
def test_parts(source, expected):
    assert part_record({"source": source}) == expected
    assert part_record({}) is None


@pytest.mark.parametrize(
    ("description", "key", "expected"),
    [
        ({TEST: {"a": ENTRY}}, TEST, {"a"}),
        ({TEST: ["./imagesTs/a.nii.gz"], "numTest": 1}, TEST, set()),  # Medical Segmentation Decathlon
        ({TEST: {"cases": 3}}, TEST, set()),
        ({TEST: "no"}, TEST, set()),
        ({HIDDEN: {"a": "a.png"}, "unlabelled": {"a": {"images": ["a_0000.png"]}}}, HIDDEN, {"a"}),
        ({HIDDEN: {"a": "a.png"}}, HIDDEN, set()),
        ({HIDDEN: True}, HIDDEN, set()),
        ({}, HIDDEN, set()),
    ],
)
def test_cases_to_score(description, key, expected):
    assert scored_names(description, key) == expected


def test_what_was_not_annotated():
    description = ORDINARY | {"annotated": {"a": ["spleen"], "b": "liver"}}
    assert not_annotated(description, "a") == ["liver"]
    assert not_annotated(description, "b") == []
    assert not_annotated(description, "c") == []
    assert not_annotated(ORDINARY | {"annotated": "by two readers"}, "a") == []


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"background": "0", "a": "1", "b": " 2 "}, {"background": 0, "a": 1, "b": 2}),
        ({"background": 0.0, "a": 1.0}, {"background": 0, "a": 1}),
        ({"background": 0, "a": [1], "b": ["2"]}, {"background": 0, "a": 1, "b": 2}),
        ({"background": 0, "a": [1, 2], "b": [2]}, {"background": 0, "a": [1, 2], "b": [2]}),
        ({"background": 0, "a": 1, "ignore": 2}, {"background": 0, "a": 1, "ignore": 2}),
    ],
)
def test_labels_become_numbers_as_nnunet_takes_them(labels, expected):
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    found = with_numbers({"labels": labels}, Path("d.json"))["labels"]
    assert found == expected
    assert all(type(value) in (int, list) for value in found.values())
    order = [1, 2] if "b" in labels else [1]
    theirs, ours = (LabelManager(each, order) for each in (labels, found))
    assert theirs.foreground_labels == ours.foreground_labels
    assert theirs.ignore_label == ours.ignore_label


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ({"background": 0, "a": ["1", "2"]}, "got the text '1' for 'a'. Write it without quotation marks."),
        ({"background": "0", "a": [1, 2]}, "got the text '0' for 'background'."),
        ({"background": 0, "a": 1, "ignore": "2"}, "got the text '2' for 'ignore'."),
        ({"background": 0, "a": 1.5}, "expected whole numbers as labels, got 1.5 for 'a'."),
        ({"background": 0, "a": "one"}, "expected whole numbers as labels, got 'one' for 'a'."),
        ({"background": 0, "a": None}, "expected whole numbers as labels, got None for 'a'."),
        ({"background": 0, "a": {"b": 1}}, "expected whole numbers as labels, got {'b': 1} for 'a'."),
    ],
)
def test_labels_that_nnunet_would_misread(labels, text):
    with pytest.raises(UserError) as caught:
        with_numbers({"labels": labels}, Path("d.json"))
    assert text in str(caught.value)
    assert str(caught.value).startswith("d.json: ")


def test_the_order_of_regions():
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    assert with_numbers({"labels": labels, "regions_class_order": ["1", 2.0]}, Path())["regions_class_order"] == [1, 2]


def test_foreground():
    labels = {"background": 0, "b": 2, "a": 1, "also background": [0], "region": [1, 2], "ignore": 3}
    assert foreground(labels) == {"b": 2, "a": 1, "region": [1, 2]}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[]", "expected an object, got list"),
        ("{}", "got None."),
        ('{"labels": {}}', "got {}."),
        ("{", "expected JSON"),
    ],
)
def test_files_that_are_none(tmp_path, content, text):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=r"^.*dataset\.json: expected") as caught:
        read_dataset_json(tmp_path / "dataset.json")
    assert text in str(caught.value)


def test_reading_keeps_everything_else(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": "0", "a": "1"}, "mine": ["1"]}))
    assert read_dataset_json(tmp_path / "dataset.json") == {"labels": {"background": 0, "a": 1}, "mine": ["1"]}
