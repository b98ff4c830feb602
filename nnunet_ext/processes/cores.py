"""The cores that this process may use, which on a shared machine or in a container are fewer than it has."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
CGROUP_V1 = Path("/sys/fs/cgroup/cpu")


def usable_cores() -> int:
    """Return the number of cores left by affinity (SLURM, taskset) and by the container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _quota() -> float | None:
    if CGROUP_V2.is_file():
        words = CGROUP_V2.read_text().split()
    elif (CGROUP_V1 / "cpu.cfs_quota_us").is_file():
        words = [(CGROUP_V1 / f"cpu.cfs_{part}_us").read_text().strip() for part in ("quota", "period")]
    else:
        return None
    if len(words) != 2 or words[0] in ("max", "-1"):
        return None
    return int(words[0]) / int(words[1])
