"""Cores that this process may use."""

import os

import pytest

from nnunet_ext.processes import cores


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Eight cores by affinity, no quota yet; returns the folder for the quota's files."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "CGROUP_V2", tmp_path / "cpu.max")
    monkeypatch.setattr(cores, "CGROUP_V1", tmp_path)
    return tmp_path


def test_affinity(machine):
    assert cores.usable_cores() == 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000", 8), ("250000 100000", 3), ("10000 100000", 1), ("1600000 100000", 8), ("", 8)],
)
def test_quota_of_a_container(machine, text, expected):
    (machine / "cpu.max").write_text(text + "\n")
    assert cores.usable_cores() == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("400000", 4)])
def test_quota_of_an_older_container(machine, quota, expected):
    (machine / "cpu.cfs_quota_us").write_text(quota + "\n")
    (machine / "cpu.cfs_period_us").write_text("100000\n")
    assert cores.usable_cores() == expected


def test_a_system_without_affinity(machine, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores.usable_cores() == 6
