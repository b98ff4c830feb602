"""Free memory of a machine and of a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_ext.base import free_memory as module
from nnunet_ext.base.free_memory import free_memory


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(module, "CGROUP_V2", tmp_path)
    return tmp_path


def contain(system: Path, limit: str) -> None:
    (system / "memory.max").write_text(f"{limit}\n")
    (system / "memory.current").write_text("700\n")
    (system / "memory.stat").write_text("anon 500\ninactive_file 150\nactive_file 50\n")


def test_what_the_machine_has_left(system):
    (system / "meminfo").write_text("MemTotal:       16 kB\nMemFree:         1 kB\nMemAvailable:    5 kB\n")
    assert free_memory() == 5 * 1024
    contain(system, "max")
    assert free_memory() == 5 * 1024


def test_what_the_container_leaves(system):
    (system / "meminfo").write_text("MemAvailable:    5 kB\n")
    contain(system, "1000")
    assert free_memory() == 1000 - 700 + 150
    contain(system, "100")
    assert free_memory() == 0


def test_a_system_that_does_not_tell(system):
    assert free_memory() is None
    (system / "meminfo").write_text("MemTotal:       16 kB\n")
    assert free_memory() is None
