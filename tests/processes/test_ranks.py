"""The rank is the process group's, on all nodes; nnU-Net's local rank may be 0 on each."""

import ast
from pathlib import Path

import pytest
import torch
from process_group import process_group

import nnunet_ext
from nnunet_ext.processes.ranks import Ranks

SOURCES = sorted(Path(nnunet_ext.__file__).parent.rglob("*.py"))


def test_without_a_group_there_is_one_rank():
    assert Ranks.now() == Ranks(0, 1)
    assert Ranks.now().is_first
    Ranks.now().wait()


@pytest.mark.parametrize(("rank", "first", "share"), [(0, True, ["a", "e"]), (2, False, ["c"])])
def test_the_process_group_says_who_this_is(rank, first, share):
    with process_group(rank, 4):
        ranks = Ranks.now()
    assert ranks == Ranks(rank, 4)
    assert ranks.is_first is first
    assert ranks.share(["a", "b", "c", "d", "e"]) == share


def test_all_ranks_together_share_everything_once():
    items = list(range(11))
    assert sorted(item for rank in range(4) for item in Ranks(rank, 4).share(items)) == items


@pytest.mark.parametrize(("world_size", "waits"), [(1, 0), (4, 1)])
def test_ranks_wait_for_each_other(monkeypatch, world_size, waits):
    barriers = []
    monkeypatch.setattr(torch.distributed, "barrier", lambda: barriers.append(1))
    Ranks(0, world_size).wait()
    assert len(barriers) == waits


def test_nothing_of_ours_asks_for_the_local_rank():
    asked = [
        f"{file.name}:{node.lineno}"
        for file in SOURCES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "local_rank"
    ]
    assert len(SOURCES) > 100
    assert asked == []
