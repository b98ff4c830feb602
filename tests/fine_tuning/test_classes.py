"""The row of the classes says what the transfer does to the segmentation head."""

import pytest
import torch

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.classes import decide_classes
from nnunet_ext.weights.heads import fitted_rows
from nnunet_ext.weights.roles import roles_of

REGIONS = {"background": 0, "whole": [1, 2], "vessel": 2}


def decide(source, own, **settings):
    return decide_classes(source, own(**settings), "3d_fullres")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"background": 0, "Organ": 1, "lesion": 2}, "rows by name: background, Organ; new: lesion; not taken: vessel"),
        ({"background": 0, "organ": 1, "vessel": 2}, "rows by name: background, organ, vessel"),
        ({"background": 0, "vessel": 1, "ignore": 2}, "rows by name: background, vessel; not taken: organ"),
    ],
)
def test_rows_by_name_in_any_case_of_letters(source, own, labels, told):
    decision = decide(source(), own, labels=labels)
    assert decision.why == f"labels have them; of the source's heads, {told}"
    assert decision.warning == ""
    assert decision.value == [name for name in labels if name not in ("background", "ignore")]


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (REGIONS, "labels (softmax) in the file, regions (sigmoid) here"),
        ({"background": 0, "lesion": 1}, "no label in common with the file"),
    ],
)
def test_no_head_is_taken(source, own, labels, why):
    decision = decide(source(), own, labels=labels)
    assert decision.why == f"labels have them; none of the source's heads is taken: {why}"
    assert decision.warning == f"classes: no segmentation head of the source is taken ({why}); all start at random"


def test_renamed_and_fresh(source, own):
    """As asked, and without a warning."""
    mine = own(labels={"background": 0, "Leber": 1, "lesion": 2})
    decision = decide_classes(source(), mine, "3d_fullres", {"Leber": "organ"})
    told = "rows by name: background, Leber; new: lesion; not taken: vessel; Leber is its organ"
    assert decision.why == f"labels have them; of the source's heads, {told}"
    decision = decide_classes(source(), mine, "3d_fullres", "fresh")
    assert decision.row() == ("classes", "Leber, lesion", "as asked: no row of the source's heads is taken")
    assert decision.warning == ""
    with pytest.raises(UserError, match=r"--rename_classes: unknown class 'liver' of the source. Legal: organ, vessel"):
        decide_classes(source(), mine, "3d_fullres", {"Leber": "liver"})


def test_a_view_s_rows_are_those_of_its_own_classes(source, own):
    model = source()
    model.plans["collection"] = {"format": 1, "task": "a", "tasks": []}
    mine = own(labels={"background": 0, "vessel": 1, "lesion": 2})
    told = "rows by name: background, vessel; new: lesion; not taken: organ"
    assert decide_classes(model, mine, "3d_fullres").why.endswith(told)


def test_a_source_without_heads(source, own):
    none = {name: tensor for name, tensor in source().weights.items() if "seg_layers" not in name}
    decision = decide(source(weights=none), own)
    assert "the source has no segmentation heads of nnU-Net's" in decision.warning


def test_as_the_transfer(source, own):
    """The same function, on the head of full resolution."""
    model, mine = source(), own(labels={"background": 0, "vessel": 1, "lesion": 2})
    head = model.weights["decoder.seg_layers.2.weight"]
    theirs, ours = roles_of(model.dataset_json), roles_of(mine.planner.dataset_json)
    rows, told = fitted_rows(torch.zeros_like(head), head, theirs, ours)
    assert rows is not None
    assert decide_classes(model, mine, "3d_fullres").why.endswith(told)
