"""Of a collection's heads, those of one task: a stock network with them computes the view's logits."""

from __future__ import annotations

import pytest
import torch
from small_unet import small_unet

from nnunet_ext.base.init_from import init_from
from nnunet_ext.methods.multi_head.architecture import MultiHead
from nnunet_ext.weights.task_heads import task_heads

HEADS = {"liver": 2, "heart": 3, "kidney": 2}


def plans_of(task):
    tasks = [{"name": name, "heads": heads, "channels": 1} for name, heads in HEADS.items()]
    return {"configurations": {}, "collection": {"format": 1, "tasks": tasks} | ({"task": task} if task else {})}


def weights(rows):
    return {"decoder.seg_layers.0.bias": torch.arange(float(rows)), "decoder.stages.0.bias": torch.arange(7.0)}


@pytest.mark.parametrize(
    ("task", "rows", "own"),
    [
        ("liver", 7, [0, 1]),  # MultiHead
        ("heart", 7, [2, 3, 4]),
        ("kidney", 7, [5, 6]),
        ("liver", 3, [0, 1]),  # UniSeg
        ("heart", 3, [0, 1, 2]),
        ("kidney", 3, [0, 1]),
        ("kidney", 2, [0, 1]),  # chosen already
        ("kidney", 4, [0, 1, 2, 3]),  # of another network
        (None, 7, [0, 1, 2, 3, 4, 5, 6]),  # of the collection
    ],
)
def test_rows(task, rows, own):
    found = task_heads(weights(rows), plans_of(task))
    assert found["decoder.seg_layers.0.bias"].tolist() == own
    assert found["decoder.stages.0.bias"].tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("plans", [None, {}, {"collection": {}}])
def test_other_weights_stay_as_they_are(plans):
    assert task_heads(weights(7), plans)["decoder.seg_layers.0.bias"].tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("number", "task"), enumerate(HEADS))
def test_a_stock_network_that_starts_from_a_view(tmp_path, number, task):
    """The view's logits, and its rows by name."""
    network = MultiHead(small_unet(classes=sum(HEADS.values())), heads=tuple(HEADS.values()), channels=(1, 2)).eval()
    labels = {"background": 0} | {f"{task} {label}": label for label in range(1, HEADS[task])}
    description = {"channel_names": {"0": "CT"}, "labels": labels}
    arguments = {"plans": plans_of(task), "configuration": "3d_fullres", "dataset_json": description}
    torch.save({"network_weights": network.state_dict(), "init_args": arguments}, tmp_path / "view.pth")
    stock = small_unet(classes=HEADS[task]).eval()
    mine = {"plans": {"configurations": {}}, "configuration": "3d_fullres", "dataset_json": description}
    done = init_from(stock, str(tmp_path / "view.pth"), init_args=mine)
    assert all(fate.kind in ("loaded", "mapped") for fate in done.fates if fate.kind != "unused")
    images = torch.randn(1, 1, 16, 16, 16)
    network.set_task(number)
    for head in (network, stock):
        head.decoder.deep_supervision = False
    with torch.no_grad():
        torch.testing.assert_close(stock(images), network(images), atol=1e-6, rtol=1e-5)
    swapped = {"background": 0} | {f"{task} {label}": HEADS[task] - label for label in range(1, HEADS[task])}
    init_from(stock, str(tmp_path / "view.pth"), init_args=mine | {"dataset_json": description | {"labels": swapped}})
    with torch.no_grad():
        expected = network(images)
        expected[:, 1:] = expected[:, 1:].flip(1)
        torch.testing.assert_close(stock(images), expected, atol=1e-6, rtol=1e-5)
