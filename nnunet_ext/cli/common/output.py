"""Output works on any terminal, shows logs, and a command ends quietly when its reader stops reading."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import stat
import sys
from collections.abc import Iterator
from typing import TextIO

PIPE_CLOSED = 141  # 128 + SIGPIPE, as other programs end


def take_any_text() -> None:
    r"""Let characters that the terminal's encoding lacks be printed as ``\xb1``, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            with contextlib.suppress(ValueError):  # closed
                reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def shown_logs(*, verbose: bool = False) -> Iterator[None]:
    """Show what the package logs on stderr, above the progress bars, until the context ends.

    Args:
        verbose: Show also what is logged for debugging, such as tracebacks.

    Example:
        >>> import logging
        >>> with shown_logs():  # doctest: +SKIP
        ...     logging.getLogger("nnunet_ext.prediction").info("2 cases")
        nnunet_ext: 2 cases
    """
    from tqdm.contrib.logging import logging_redirect_tqdm

    package = logging.getLogger("nnunet_ext")
    handler, level = logging.StreamHandler(sys.stderr), package.level
    handler.setFormatter(logging.Formatter("nnunet_ext: %(message)s"))
    package.addHandler(handler)
    package.setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        with logging_redirect_tqdm([package]):
            yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)


def is_closed() -> bool:
    """Flush the output; return whether nobody reads it any more (``nnunet_ext info | head``)."""
    closed = False
    for stream in filter(None, (sys.stdout, sys.stderr)):  # some job starters close them
        try:
            stream.flush()
            broken = _has_no_reader(stream)
        except BrokenPipeError:
            broken = True
        except (OSError, ValueError):  # a full disk, of which Python tells when it ends; closed by somebody
            broken = False
        if broken:
            closed = True
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # Python prints the rest when it ends
    return closed


def _has_no_reader(stream: TextIO) -> bool:
    if not hasattr(select, "poll"):
        return False
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # no file: text that is kept, as in tests
        return False
    if not stat.S_ISFIFO(os.fstat(number).st_mode):
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))
