"""What the container starts: one case and the end (*exec*), or a server (*invoke*)."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from nnunet_ext.challenges.container.algorithm import Algorithm
from nnunet_ext.challenges.container.server import PORT, InvokeServer
from nnunet_ext.challenges.container.settings import ContainerSettings
from nnunet_ext.errors import UserError

logger = logging.getLogger(__name__)
METHOD = "GRAND_CHALLENGE_COMPONENT_API_METHOD"
EXEC, INVOKE = "exec", "invoke"


def main(words: Sequence[str], start: float) -> int:
    """Predict what is in the input folder, once or at each call.

    Args:
        words: Of the command line; without any, the folders are the platform's.
        start: When the program started, as ``time.perf_counter()`` counts.

    Returns:
        The exit code: 0, or 1 if something went wrong, which the log says.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(prog="python -m nnunet_ext.challenges.container")
    default = os.environ.get(METHOD) or EXEC
    parser.add_argument("method", nargs="?", default=default, help=f"[{METHOD}, else {EXEC}]")
    for name, place in (("input", "/input"), ("output", "/output"), ("model", "/opt/ml/model")):
        parser.add_argument(f"--{name}", type=Path, default=Path(place), help=f"folder [{place}]")
    parser.add_argument("--settings", type=Path, default=Path("/opt/app/container.json"))
    parser.add_argument("--device", choices=("cuda", "cpu"), help="[the GPU, if there is one]")
    parser.add_argument("--port", type=int, default=PORT)
    asked = parser.parse_args(words)

    def load() -> Algorithm:
        return Algorithm.load(asked.model, ContainerSettings.read(asked.settings), asked.device)

    try:
        if asked.method not in (EXEC, INVOKE):
            raise UserError(f"{METHOD}: expected {EXEC} or {INVOKE}, got {asked.method!r}. Correct it.")
        if asked.method == EXEC:
            load().run(asked.input, asked.output, start)
        else:

            def loaded() -> Callable[[], list[Path]]:
                return partial(load().run, asked.input, asked.output)

            server = InvokeServer(asked.port)
            signal.signal(signal.SIGTERM, lambda *_: server.close())  # else process 1 of a container ignores it
            server.serve(loaded)
    except UserError as error:
        logger.error("%s", error)
        return 1
    except Exception:
        logger.exception("the case was not predicted")
        return 1
    return 0
