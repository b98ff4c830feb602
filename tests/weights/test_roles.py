"""Names of channels and outputs, held against nnU-Net's own label manager."""

from __future__ import annotations

import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_ext.weights.roles import Roles, restores_images, roles_in, roles_of

BACK = "background"
DATASETS = {
    "labels": {BACK: 0, "a": 1, "b": 2},
    "not in order": {"b": 2, BACK: 0, "a": 1},
    "ignore": {BACK: 0, "a": 1, "ignore": 2},
    "lists of one": {BACK: 0, "a": [1], "b": [2]},
    "regions": {BACK: 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3},
    "regions in another order": {"core": (2, 3), BACK: 0, "whole": (1, 2, 3), "ignore": 4},
}


@pytest.mark.parametrize("name", DATASETS)
def test_outputs_are_those_of_nnunets_label_manager(name):
    labels = DATASETS[name]
    order = list(range(1, len([label for label in labels if label not in (BACK, "ignore")]) + 1))
    manager = LabelManager(labels, order)
    found = roles_of({"labels": labels})
    assert found.outputs is not None
    assert len(found.outputs) == manager.num_segmentation_heads
    assert found.are_regions == manager.has_regions
    values = manager.foreground_regions if manager.has_regions else manager.all_labels
    for output, value in zip(found.outputs, values, strict=True):
        own = labels[output]
        own = own[0] if isinstance(own, list) and len(own) == 1 else tuple(own) if isinstance(own, list) else own
        assert own == value


def test_channels_are_ordered_by_number():
    assert roles_of({"channel_names": {"1": "T2", "0": "T1"}}).channels == ("T1", "T2")
    assert roles_of({"channel_names": {str(n): f"c{n}" for n in (0, 1, 10, 2)}}).channels == ("c0", "c1", "c2", "c10")
    assert roles_of({"modality": {"0": "CT"}}).channels == ("CT",)
    assert roles_of({"channel_names": {"b": "T2", "a": "T1"}}).channels == ("T2", "T1")


@pytest.mark.parametrize("name", DATASETS)
def test_a_cascade_has_a_channel_for_every_label_of_the_stage_before(name):
    labels = DATASETS[name]
    channels = roles_of({"channel_names": {"0": "CT"}, "labels": labels}, cascade=True).channels
    manager = LabelManager(labels, list(range(1, 4))[: sum(label not in (BACK, "ignore") for label in labels)])
    assert channels is not None
    assert len(channels) == 1 + len(manager.foreground_labels)
    assert channels[0] == "CT"
    assert len(set(channels)) == len(channels)


def test_names_of_a_cascades_channels():
    found = roles_of({"channel_names": {"0": "CT"}, "labels": DATASETS["not in order"]}, cascade=True)
    assert found.channels == ("CT", "previous stage: a", "previous stage: b")
    found = roles_of({"channel_names": {"0": "CT"}, "labels": DATASETS["regions"]}, cascade=True)
    assert found.channels is not None
    assert found.channels[1:] == tuple(f"previous stage: {name}" for name in ("label 1", "label 2", "enhancing"))


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"labels": ["a"]},
        {"labels": {"0": BACK, "1": "a"}},
        {"labels": {BACK: 0, "a": "1"}},
        {"labels": {BACK: 0, "a": []}},
        {"labels": {BACK: 0, "a": [1, "2"]}},
        {"channel_names": ["CT"]},
    ],
)
def test_what_has_another_form_is_unknown(broken):
    assert roles_of(broken) == Roles(None, None)
    assert roles_of(broken | {"channel_names": {"0": "CT"}}, cascade=True) == Roles(None, None)
    assert not Roles().are_regions


def test_the_outputs_of_a_network_that_restores_images_are_no_classes():
    described = {"channel_names": {"0": "CT"}, "labels": DATASETS["regions"]}
    arguments = {"plans": {}, "dataset_json": described, "nnunet_ext": {"restores_images": True}}
    assert roles_in(arguments) == Roles(channels=("CT",))
    assert restores_images(arguments)
    for other in ({}, {"cases": {}}, None):
        assert not restores_images(arguments | {"nnunet_ext": other})
    assert not restores_images(None)
