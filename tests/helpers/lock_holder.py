"""Another process that holds the lock of a folder; it imports nothing heavy."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HOLD = """
import sys, time
from pathlib import Path
from nnunet_ext.processes.run_lock import take_lock
take_lock(Path(sys.argv[1]), "training")
print("taken", flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def lock_holder(folder: Path) -> Iterator[subprocess.Popen]:
    """``with lock_holder(folder) as process:`` it has taken the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        yield process
    finally:
        process.kill()
        process.wait()
