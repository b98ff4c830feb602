"""What worker processes write in tests; here, because a spawned worker cannot import a test file."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.data.image_case import Case


@dataclass(frozen=True)
class WriteThreads:
    """Writes into a folder how many threads the worker has: torch's, then those of each library of numpy and scipy."""

    folder: Path

    def __call__(self, case: Case) -> None:
        import scipy.linalg  # noqa: F401
        import torch
        from threadpoolctl import threadpool_info

        threads = [torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())]
        (self.folder / case.name).write_text(f"{os.getpid()} {' '.join(map(str, threads))}")


def die(case: Case) -> None:
    """End as if memory had run out."""
    os.kill(os.getpid(), signal.SIGKILL)
