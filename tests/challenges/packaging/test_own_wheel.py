"""The wheel of the installed nnunet_ext: pip installs it, and everything that runs here is in it."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import nnunet_ext
from nnunet_ext import sockets
from nnunet_ext.challenges.packaging.own_wheel import write_own_wheel


def test_pip_installs_it(tmp_path: Path) -> None:
    file = write_own_wheel(tmp_path)
    again = write_own_wheel(tmp_path / "..")
    assert file.read_bytes() == again.read_bytes()
    again.unlink()
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*pip, file], check=True, cwd=tmp_path)
    code = "from nnunet_ext import sockets, __file__; print(__file__); print(*sockets.names('trainers'))"
    done = subprocess.run([python, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    place, names = done.stdout.splitlines()
    assert place.startswith(str(tmp_path / "env"))
    assert names.split() == sockets.names("trainers")
    assert (tmp_path / "env" / "bin" / "nnunet_ext").is_file()
    with ZipFile(file) as archive:
        inside = set(archive.namelist())
        root = Path(nnunet_ext.__file__).parent
        assert {f"nnunet_ext/{path.relative_to(root).as_posix()}" for path in root.rglob("*.py")} <= inside
        assert not any("__pycache__" in name for name in inside)
