"""Fresh virtual environments that see this one's packages, and ways to install nnunet_ext into them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ("nnunet_ext", "trainers", "planners", "pyproject.toml", "README.md", "LICENSE")


class Environment:
    """A virtual environment without pip; this one's site-packages come last on its path.

    Its own .pth files and packages win over ours. nnunet_ext of this environment is not seen where it is editable, and
    is hidden by the one installed where it is not.

    Args:
        folder: Where it is made.
        bare: It sees no packages but its own.
    """

    def __init__(self, folder: Path, *, bare: bool = False) -> None:
        venv.create(folder, symlinks=True)
        self.folder = folder
        self.site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
        if not bare:
            (self.site / "zz_packages_of_the_tests.pth").write_text(sysconfig.get_path("purelib"))
        self.variables = {
            name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "nnUNet_extTrainer")
        }
        self.variables["PYTHONDONTWRITEBYTECODE"] = "1"

    def run(self, *words: str | Path) -> str:
        """Run a program of this environment, away from any checkout; return what it prints."""
        words = (self.folder / "bin" / words[0], *words[1:])
        done = subprocess.run(words, env=self.variables, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pip(self, *words: str | Path) -> None:
        """Install or uninstall in this environment."""
        command = [sys.executable, "-m", "pip", "--python", self.folder / "bin" / "python", "--no-input", *words]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def install(self, *what: str | Path) -> None:
        """Install a wheel or, after ``-e``, a checkout."""
        self.pip(
            "install", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "--no-compile", *what
        )

    def probe(self, *words: str) -> dict:
        """Run probe.py here and return what it found."""
        return json.loads(self.run("python", Path(__file__).with_name("probe.py"), *words).splitlines()[-1])

    def files(self) -> set[str]:
        """Every file and folder of the environment."""
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}


@pytest.fixture
def environment(tmp_path) -> Environment:
    """An environment without nnunet_ext."""
    return Environment(tmp_path / "environment")


@pytest.fixture
def bare_environment(tmp_path) -> Environment:
    """An environment without any package."""
    return Environment(tmp_path / "bare", bare=True)


@pytest.fixture(scope="session")
def copy_checkout(tmp_path_factory):
    """Copy what is shipped into a new folder."""

    def copy() -> Path:
        target = tmp_path_factory.mktemp("checkout")
        for name in SHIPPED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target / name)
        return target

    return copy


@pytest.fixture(scope="session")
def wheel(copy_checkout, tmp_path_factory) -> Path:
    """Build the wheel from a copy of this checkout."""
    to = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", to, copy_checkout()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(to.glob("*.whl"))


@pytest.fixture
def nnunet_unchanged():
    """Fail if a file of nnU-Net is added, removed or changed during the test."""
    import nnunetv2

    def files() -> dict[Path, tuple[int, int]]:
        found = Path(nnunetv2.__path__[0]).rglob("*")
        stats = {path: path.stat() for path in found if "__pycache__" not in path.parts and path.is_file()}
        return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}

    before = files()
    assert len(before) > 100
    yield
    assert files() == before
