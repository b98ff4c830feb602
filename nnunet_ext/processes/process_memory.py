"""How much memory this process uses and has used."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import NamedTuple

STATUS = Path("/proc/self/status")  # of Linux


class Memory(NamedTuple):
    """Memory of a process, in bytes.

    Args:
        now: In use (resident).
        peak: Most that was in use at a time so far.
    """

    now: int
    peak: int


def process_memory() -> Memory | None:
    """Return the memory of this process; None where the system does not count it (Windows).

    Linux counts it for the program that runs: ``getrusage`` would also count what the process that started this one
    used. Where only the peak is known (macOS), ``now`` is the peak as well.

    Example:
        >>> memory = process_memory()
        >>> memory is None or memory.peak >= memory.now > 0
        True
    """
    if STATUS.is_file():
        lines = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE))
        if len(lines) == 2:
            now, peak = (int(lines[name]) * 1024 for name in ("VmRSS", "VmHWM"))
            return Memory(now, max(now, peak))  # the kernel updates the peak late
    if importlib.util.find_spec("resource") is None:
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Memory(peak, peak)
