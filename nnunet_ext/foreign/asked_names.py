"""The functions and classes that a pickle asks for, found by reading it as text."""

from __future__ import annotations

import contextlib
import pickletools
from typing import IO

TEXT = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING")
PUT, GET = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")


def asked_names(pickled: bytes | IO[bytes]) -> list[str]:
    """Return the names that a pickle asks for, for messages; nothing is imported or called.

    Args:
        pickled: A pickle, or a stream at the start of one, which is then read to its end.

    Returns:
        ``module.name``, in their order; up to where the pickle is damaged.

    Example:
        >>> import pickle, collections
        >>> asked_names(pickle.dumps(collections.OrderedDict))
        ['collections.OrderedDict']
    """
    found: list[str] = []
    texts: list[str] = []  # pushed so far; of a name on the stack, the last two
    memo: dict[int, str] = {}
    stored = 0
    last = ""
    with contextlib.suppress(ValueError, IndexError, EOFError):  # damaged: what was found until there
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name in ("GLOBAL", "INST"):
                found.append(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                found.append(".".join(texts[-2:]))
            elif opcode.name in TEXT:
                last = str(argument)
                texts.append(last)
                continue
            elif opcode.name in GET and argument in memo:
                texts.append(memo[argument])
            elif opcode.name in PUT or opcode.name == "MEMOIZE":
                memo[stored if argument is None else int(argument)] = last
                stored += 1
                continue
            last = ""
    return found
