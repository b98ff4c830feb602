"""Option types: numbers in a range, folds, files and folders; a wrong value is reported in one line.

They are argparse's ``type=``, and also check arguments that are passed on to nnU-Net's commands (:func:`check_words`).
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from nnunet_ext.errors import UserError

DEVICES = ("cpu", "cuda", "mps")
SIDES = ("source", "target")
TRUST = "run the code that the file asks for; only for files whose maker you know"


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as one line.

        Raises:
            UserError: Always.
        """
        line = " ".join(message.removeprefix("argument ").split())
        raise UserError(f"{line}. See {self.prog} --help")


def whole(at_least: int, at_most: int | None = None) -> Callable[[str], int]:
    """Return the type of whole numbers in a range."""
    expected = f"a number from {at_least} {'up' if at_most is None else f'to {at_most}'}"

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        if not at_least <= int(text) <= (math.inf if at_most is None else at_most):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
        return int(text)

    return read


def real(above: float, at_most: float | None = None) -> Callable[[str], float]:
    """Return the type of finite numbers above one and up to another."""
    expected = f"a number above {above:g}" + ("" if at_most is None else f" and at most {at_most:g}")

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and above < number <= (math.inf if at_most is None else at_most)):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return number

    return read


def fold(text: str) -> str:
    """Read a fold: a whole number from 0 up, or ``all``."""
    if text != "all" and not re.fullmatch("[0-9]+", text):
        raise argparse.ArgumentTypeError(f"expected folds 0, 1, 2, ... or all, got {text!r}")
    return text if text == "all" else str(int(text))


def device(text: str) -> str:
    """Read a kind of device."""
    if text not in DEVICES:
        raise argparse.ArgumentTypeError(f"expected {', '.join(DEVICES)}, got {text!r}")
    return text


def folder_or_new(text: str) -> Path:
    """Read a folder that exists or will be created."""
    return _no(Path(text), "a folder", Path.is_file, "a file")


def new_or_file(text: str) -> Path:
    """Read a file that exists or will be written."""
    return _no(Path(text), "a file", Path.is_dir, "a folder")


def file(text: str) -> Path:
    """Read an existing file."""
    path = new_or_file(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"expected a file, found none at {text}")
    return path


def folder(text: str) -> Path:
    """Read an existing folder."""
    path = folder_or_new(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"expected a folder, found none at {text}")
    return path


def side_or_numbers(
    flag: str, words: Sequence[str] | None, read: Callable[[str], Any], counts: Sequence[int]
) -> str | list[Any] | None:
    """Read ``source``, ``target`` or numbers.

    Args:
        flag: For messages.
        words: What is after it; None: nothing.
        read: The type of a number.
        counts: How many numbers there may be.

    Raises:
        UserError: It is something else.
    """
    if words is None:
        return None
    if len(words) == 1 and words[0] in SIDES:
        return words[0]
    if len(words) not in counts or any(word in SIDES for word in words):
        raise UserError(
            f"{flag} {' '.join(words)}: expected source, target or {' or '.join(map(str, counts))} numbers. Correct it."
        )
    try:
        return [read(word) for word in words]
    except argparse.ArgumentTypeError as error:
        raise UserError(f"{flag}: {error}. Correct it.") from error


def pairs(flag: str, words: Sequence[str]) -> dict[str, str]:
    """Read ``NAME=OTHER``, each side once.

    Args:
        flag: For messages.
        words: What is after it.

    Raises:
        UserError: It is something else.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, other = word.partition("=")
        if not (name and equals and other) or name in found or other in found.values():
            raise UserError(
                f"{flag} {' '.join(words)}: expected NAME=OTHER with each name once, got {word!r}. Correct it."
            )
        found[name] = other
    return found


def check_words(words: Sequence[str], kinds: Mapping[str, Callable[[str], Any]]) -> None:
    """Check the values after some flags, which another program reads.

    Args:
        words: The command line.
        kinds: The type of the value or values after each flag.

    Raises:
        UserError: A value has another type.
    """
    for index, word in enumerate(words):
        flag, equals, given = word.partition("=")
        if flag not in kinds:
            continue
        following = [given] if equals else list(_until_flag(words[index + 1 :]))
        for text in following:
            try:
                kinds[flag](text)
            except argparse.ArgumentTypeError as error:
                raise UserError(f"{flag}: {error}. Correct it.") from error


def _until_flag(words: Sequence[str]) -> list[str]:
    """The words before the next flag; a negative number is not a flag."""
    flags = (index for index, word in enumerate(words) if re.match("-+[A-Za-z]", word))
    return list(words[: next(flags, len(words))])


def _no(path: Path, expected: str, is_wrong: Callable[[Path], bool], found: str) -> Path:
    if is_wrong(path):
        raise argparse.ArgumentTypeError(f"expected {expected}, found {found} at {path}")
    return path
