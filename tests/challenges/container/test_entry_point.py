"""The entry point as a process of its own: input that is only read, an empty home, no network, real HTTP requests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import SimpleITK as sitk
from challenge_model import write_challenge_model, write_input

from nnunet_ext.challenges.container.__main__ import FOLDERS, OF_TORCH, use_temporary_folder
from nnunet_ext.challenges.container.entry_point import METHOD, main
from nnunet_ext.challenges.container.interface import INTERFACES
from nnunet_ext.challenges.container.settings import ContainerSettings
from nnunet_ext.prediction import Predictor

ROOT = Path(__file__).parents[3]
NO_NETWORK = ["unshare", "--net", "--map-root-user"]
ENTRY = [sys.executable, "-m", "nnunet_ext.challenges.container"]
PLACE = "images/kidney-tumor-and-cyst"


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """A folder with the model, its settings, an empty home and an empty temporary folder."""
    model = write_challenge_model(tmp_path / "results")
    shutil.copytree(model, tmp_path / "model")
    settings = ContainerSettings(INTERFACES["kits21"], ("0",), time_budget=1000.0)
    (tmp_path / "container.json").write_text(json.dumps(settings.as_json()))
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    return tmp_path


def words_of(sandbox: Path) -> list[str]:
    places = [f"--{name}={sandbox / name}" for name in ("input", "output", "model")]
    return [*places, f"--settings={sandbox / 'container.json'}", "--device=cpu"]


def environment(sandbox: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS") if name in os.environ}
    return kept | {"HOME": str(sandbox / "home"), "TMPDIR": str(sandbox / "tmp"), "PYTHONPATH": str(ROOT)}


def expected_labels(sandbox: Path, number: int) -> np.ndarray:
    image, labels = sandbox / f"{number}.nii.gz", sandbox / f"labels{number}.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(sandbox / f"in{number}" / "images/ct/uuid.mha")), str(image))
    Predictor(sandbox / "model", (0,), device="cpu").predict_files([image], labels)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(labels)))


def output_labels(folder: Path) -> np.ndarray:
    assert [path for path in files_below(folder) if path.endswith(".mha")] == [f"{PLACE}/uuid.mha"]
    return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / PLACE / "uuid.mha")))


def test_exec_in_a_sandbox(sandbox: Path) -> None:
    """Exit code 0, the labels of predict, and nothing written but the output and the temporary folder."""
    source = write_input(sandbox / "in0")
    (sandbox / "out0").mkdir()
    for name in ("input", "output"):
        (sandbox / name).symlink_to(f"{name[:-3]}0" if name == "output" else "in0")
    for path in (source, source.parent, sandbox / "in0"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = files_below(sandbox / "model") | files_below(sandbox / "in0")
    can = subprocess.run([*NO_NETWORK, "true"], capture_output=True, check=False).returncode == 0
    words = [*(NO_NETWORK if can else []), *ENTRY, *words_of(sandbox)]
    done = subprocess.run(words, env=environment(sandbox), cwd=sandbox, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(output_labels(sandbox / "out0"), expected_labels(sandbox, 0))
    assert files_below(sandbox / "home") == set()
    assert files_below(sandbox / "model") | files_below(sandbox / "in0") == before
    assert [path.name for path in (sandbox / "tmp").iterdir()] == ["nnunet_ext"]


def test_invoke(sandbox: Path) -> None:
    """Three calls, the second with a damaged image; input and output are links that change between them."""
    for number in range(3):
        write_input(sandbox / f"in{number}", seed=number)
        (sandbox / f"out{number}").mkdir()
    broken = sandbox / "in1" / "images/ct/uuid.mha"
    broken.write_bytes(broken.read_bytes()[:-200])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [*ENTRY, *words_of(sandbox), f"--port={port}"]
    with (sandbox / "log.txt").open("w") as log:
        process = subprocess.Popen(words, env=environment(sandbox) | {METHOD: "invoke"}, cwd=sandbox, stderr=log)
    try:
        _until_ready(port, process)
        statuses = []
        for number in range(3):
            for name, target in (("input", f"in{number}"), ("output", f"out{number}")):
                (sandbox / name).unlink(missing_ok=True)
                (sandbox / name).symlink_to(target)
            statuses.append(_status(port, "/invoke", "POST"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
    assert statuses == [201, 500, 201], (sandbox / "log.txt").read_text()
    assert [path for path in files_below(sandbox / "out1") if path.endswith(".mha")] == []
    found = [output_labels(sandbox / f"out{number}") for number in (0, 2)]
    for labels, number in zip(found, (0, 2), strict=True):
        np.testing.assert_array_equal(labels, expected_labels(sandbox, number))
    assert not np.array_equal(*found)
    assert "expected an image that nnU-Net's SimpleITKIO reads" in (sandbox / "log.txt").read_text()


def _status(port: int, path: str, method: str = "GET") -> int:
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", method=method), timeout=120) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


def _until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        assert process.poll() is None, "the server ended"
        try:
            if _status(port, "/health") == 200:
                return
        except URLError:
            pass  # it does not listen yet
        time.sleep(0.1)
    raise AssertionError("the server did not get ready")


def test_exit_code_1(sandbox: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """No image, an unknown method, our own mistake."""
    monkeypatch.delenv(METHOD, raising=False)
    assert main(words_of(sandbox), 0.0) == 1
    assert "expected one image *.mha in images/ct, found none" in caplog.text
    monkeypatch.setenv(METHOD, "both")
    assert main(words_of(sandbox), 0.0) == 1
    assert "expected exec or invoke, got 'both'" in caplog.text

    def fail(*_: object) -> Callable[[], object]:
        raise ValueError("a mistake of ours")

    monkeypatch.setattr("nnunet_ext.challenges.container.algorithm.Algorithm.run", fail)
    assert main(["exec", *words_of(sandbox)], 0.0) == 1
    assert "Traceback" in caplog.text
    assert "a mistake of ours" in caplog.text


def test_what_is_written_goes_to_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in (*FOLDERS, *OF_TORCH):
        monkeypatch.setenv(name, "/elsewhere")
    use_temporary_folder()
    for name in ("nnUNet_results", "MPLCONFIGDIR", "TORCH_HOME"):
        assert os.environ[name].startswith(str(tmp_path))
        assert Path(os.environ[name]).is_dir()
