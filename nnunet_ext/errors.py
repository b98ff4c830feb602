"""The one error that is meant for the user rather than for us, and the phrases of its messages."""

import difflib
from collections.abc import Iterable

SHOWN = 12  # of a longer list only the names nearest to the wrong one are shown
OF_TORCH = ("PytorchStreamWriter", "inline_container", "Parent directory", "cannot be opened")


class UserError(RuntimeError):
    """A mistake that the user can fix: one line saying what was expected, what was found and what to do.

    The command line prints the line and exits with code 2; inside nnU-Net's own commands it ends the traceback.
    """


def nearest(name: str, legal: Iterable[str]) -> str:
    """Return ``Did you mean 'x'?`` and the legal names as one phrase that ends an error message."""
    legal = sorted(legal)
    lowered = {candidate.lower(): candidate for candidate in legal}
    close = [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=SHOWN, cutoff=0.0)]
    similar = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    hint = f"Did you mean {lowered[similar[0]]!r}? " if similar else ""
    if len(legal) > SHOWN:
        return f"{hint}Legal: {', '.join(close)} and {len(legal) - len(close)} more."
    return f"{hint}Legal: {', '.join(legal) or 'none'}."


def one_line(error: BaseException, *, last: bool = False) -> str:
    """Return the first line of an error's text (or the last, where some readers put the reason), else its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1 if last else 0] if lines else type(error).__name__


def more(number: int, thing: str = "case") -> str:
    """Return the end of a message about the first of several problems."""
    return f" (and {number} more {thing}{'s' * (number > 1)})" if number > 0 else ""


def is_write_error(error: Exception) -> bool:
    """Distinguish a file that cannot be written from other errors of ``torch.save``, such as one of CUDA.

    For a full disk torch raises a ``RuntimeError``, and so does CUDA for an error in an earlier kernel, which surfaces
    when the weights are copied to the CPU.
    """
    return isinstance(error, OSError) or (type(error) is RuntimeError and any(word in str(error) for word in OF_TORCH))
