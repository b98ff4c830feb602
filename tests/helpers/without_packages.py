"""The program in a process where some packages are not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Others(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {refused} else super().find_spec(name, path, target)

sys.meta_path = [Others if finder is PathFinder else finder for finder in sys.meta_path]
from nnunet_ext.cli.main import main
code = main(sys.argv[1:])
print(*sorted({refused} & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def run_without(refused: set[str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the program in a process that has no such packages."""
    command = [sys.executable, "-c", WITHOUT.format(refused=refused), *map(str, words)]
    return subprocess.run(command, env=os.environ.copy(), capture_output=True, text=True, check=False)
