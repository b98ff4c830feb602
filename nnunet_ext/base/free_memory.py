"""The memory still available to this process, which in a container is less than the machine has."""

from __future__ import annotations

from pathlib import Path

MACHINE = Path("/proc/meminfo")
CGROUP_V2 = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Return the bytes left on the machine and under the container's limit; None if the system does not report it."""
    left = [found for found in (_of_machine(), _of_container()) if found is not None]
    return max(0, min(left)) if left else None


def _of_machine() -> int | None:
    if not MACHINE.is_file():
        return None
    lines = dict(line.split(":", 1) for line in MACHINE.read_text().splitlines() if ":" in line)
    return int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else None


def _of_container() -> int | None:
    limit, used, details = (CGROUP_V2 / f"memory.{name}" for name in ("max", "current", "stat"))
    if not (limit.is_file() and used.is_file() and details.is_file()) or limit.read_text().strip() == "max":
        return None
    found = dict(line.split() for line in details.read_text().splitlines())
    cache = int(found.get("inactive_file", 0))  # given back when memory is needed
    return int(limit.read_text()) - int(used.read_text()) + cache
