"""Memory of a process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from nnunet_ext.processes import process_memory as module
from nnunet_ext.processes.process_memory import process_memory

MIB = 2**20
PROGRAM = """
import numpy
from nnunet_ext.processes.process_memory import process_memory
before = process_memory()
numpy.ones(200 << 17)  # 200 MiB
after = process_memory()
print(after.peak - before.now, after.now - before.now)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the memory in use is known only on Linux")
def test_peak_and_now():
    kept = np.ones(300 << 17)  # 300 MiB of this process do not count for the one that it starts
    program = PROGRAM.replace("nnunet_ext.processes.process_memory", "process_memory")
    folder = str(module.__file__).rpartition("/")[0]
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, env={"PYTHONPATH": folder}, capture_output=True, text=True, check=True)
    peak, now = map(int, done.stdout.split())
    assert 195 * MIB < peak < 290 * MIB
    assert now < 100 * MIB
    assert kept.nbytes == 300 * MIB


def test_without_the_file_of_linux(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STATUS", tmp_path / "none")
    memory = process_memory()
    assert memory is not None
    assert memory.now == memory.peak > 10 * MIB
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert process_memory() is None
