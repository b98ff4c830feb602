"""A planned phantom dataset, and the program run in this process (a subprocess would import for seconds)."""

import json
import multiprocessing
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import pytest

from nnunet_ext.cli.main import main
from nnunet_ext.phantoms.collection import write_phantom_collection
from nnunet_ext.phantoms.dataset import write_phantom_dataset

NAME = "Dataset901_Phantom"
PARTS = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "preprocessed", "nnUNet_results": "results"}


def prepare(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Point nnU-Net at folders under ``root``, close the door, and let its worker pools be threads."""
    for variable, part in PARTS.items():
        (root / part).mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv(variable, str(root / part))
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: SimpleNamespace(Pool=ThreadPool))
    monkeypatch.setattr("nnunetv2.utilities.utils.Pool", ThreadPool)
    monkeypatch.setattr("nnunet_ext.data.preprocessed.workers.ProcessPoolExecutor", lambda n, *_: ThreadPoolExecutor(n))


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with one phantom dataset, planned by LitePlanner with three knobs, not preprocessed."""
    root = tmp_path_factory.mktemp("nnunet")
    with pytest.MonkeyPatch.context() as monkeypatch:
        prepare(monkeypatch, root)
        write_phantom_dataset(root / "raw", NAME, cases=3, unseen=1, shape=(12, 32, 32))
        words = "-d 901 -pl LitePlanner --no_pp --no_pbar --set num_epochs=7 seed=3 ba_net.boundary_width=5"
        assert main(["plan_and_preprocess", *words.split()]) == 0
    return root


@pytest.fixture
def nnunet(planned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the planned folders to work in."""
    root = Path(shutil.copytree(planned, tmp_path / "nnunet"))
    prepare(monkeypatch, root)
    return root


@pytest.fixture(scope="session")
def _preprocessed_phantom(planned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(planned, tmp_path_factory.mktemp("preprocessed") / "nnunet"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        prepare(monkeypatch, root)
        assert main(["preprocess", "-d", "901", "-p", "LitePlans", "-c", "3d_fullres", "-np", "1", "--no_pbar"]) == 0
    folds = [{"train": ["case_001", "case_002"], "val": ["case_000"]}]
    (root / "preprocessed" / NAME / "splits_final.json").write_text(json.dumps(folds))
    return root


@pytest.fixture
def preprocessed_phantom(_preprocessed_phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the planned folders with 3d_fullres preprocessed, and one fold."""
    root = Path(shutil.copytree(_preprocessed_phantom, tmp_path / "nnunet"))
    prepare(monkeypatch, root)
    return root


@pytest.fixture(scope="session")
def preprocessed_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with a collection of two members, 900 of 901 and 902, planned by CollectionLitePlanner, preprocessed."""
    root = tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as monkeypatch:
        prepare(monkeypatch, root)
        members = write_phantom_collection(root / "raw", members=2, cases=3, unseen=0, shape=(18, 20, 20))
        manifest = root / "raw" / "Dataset900_Pair" / "dataset.json"
        manifest.parent.mkdir()
        manifest.write_text(
            json.dumps({"tasks": {place.name[11:].lower(): {"dataset": place.name} for place in members}})
        )
        words = "-d 900 -pl CollectionLitePlanner --no_pbar --set num_epochs=7"
        assert main(["plan_and_preprocess", *words.split()]) == 0
    return root


@pytest.fixture
def pair(preprocessed_pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the collection to work in."""
    root = Path(shutil.copytree(preprocessed_pair, tmp_path / "pair"))
    prepare(monkeypatch, root)
    return root


@pytest.fixture
def mistake(capfd: pytest.CaptureFixture[str]) -> Callable[[str | Sequence[str]], str]:
    """Run words that are wrong: exit code 2, one line on stderr, which is returned without its head."""

    def run(words: str | Sequence[str]) -> str:
        capfd.readouterr()
        assert main(words.split() if isinstance(words, str) else words) == 2
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("nnunet_ext: error: ")
        return lines[0].removeprefix("nnunet_ext: error: ")

    return run
