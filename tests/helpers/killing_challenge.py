"""A challenge whose references cannot be read: the process is killed, as by a system without memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.challenges.case_masks import CaseMasks
from nnunet_ext.challenges.challenge import Challenge


@dataclass(frozen=True)
class KillingChallenge(Challenge):
    """Kills the process that reads a reference."""

    def read_references(self, path: Path, reader: Any) -> Iterator[CaseMasks]:
        """Never return."""
        os.kill(os.getpid(), signal.SIGKILL)
        yield from ()
