"""The base class of all sub-commands."""

from __future__ import annotations

import abc
import argparse
from collections.abc import Sequence
from typing import ClassVar

from nnunet_ext.cli.common.options import Parser


class Command(abc.ABC):
    """A sub-command: a dataclass whose fields are the options and whose :meth:`run` is the work.

    The first line of its docstring is its help. Modules of sub-commands import nothing heavy at the top, so that
    ``nnunet_ext --help`` and ``nnunet_ext doctor`` answer at once, even on broken installations.
    """

    name: ClassVar[str]
    after_interruption: ClassVar[str] = "Run the same command again to resume or restart it."
    has_workers: ClassVar[bool] = False  # of multiprocessing

    @classmethod  # noqa: B027  (some commands have no options)
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options; each ``dest`` is a field."""

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Command:
        """Build the command from command-line arguments."""
        parser = Parser(
            prog=f"nnunet_ext {cls.name}", description=cls.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        cls.add_arguments(parser)
        return cls(**vars(parser.parse_args(arguments)))

    @abc.abstractmethod
    def run(self) -> int:
        """Do the work and return the exit code."""
