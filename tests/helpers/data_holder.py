"""Another process that trains on preprocessed data, or preprocesses them; it imports nothing heavy."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

USE = "use_data(data)"
ALONE = "stack.enter_context(data_alone(data))"
HOLD = """
import contextlib, sys
from pathlib import Path
from nnunet_ext.data.preprocessed.use import data_alone, use_data
data = Path(sys.argv[1])
with contextlib.ExitStack() as stack:
    {}
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextlib.contextmanager
def data_holder(data: Path, how: str = USE) -> Iterator[subprocess.Popen]:
    """``with data_holder(folder) as process:`` it uses the data, or with ``ALONE`` preprocesses them."""
    words = [sys.executable, "-c", HOLD.format(how), str(data)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.communicate("\n")
