"""``nnunet_ext doctor`` as a whole."""

import subprocess
import sys

import pytest

from nnunet_ext import sockets
from nnunet_ext.cli.main import main
from nnunet_ext.cli.setup import doctor
from nnunet_ext.cli.setup.doctor_checks import CHECKS, Check


@pytest.mark.parametrize(("statuses", "code"), [(["ok", "ok"], 0), (["ok", "warn"], 0), (["warn", "FAIL", "ok"], 1)])
def test_exit_code(monkeypatch, capsys, statuses, code):
    found = [Check(f"check {index}", status, "found", "do it") for index, status in enumerate(statuses)]
    monkeypatch.setattr(doctor, "CHECKS", tuple(lambda each=each: each for each in found))
    assert main(["doctor"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[1::2] == [f"{status:<4}  check {index:<16}  found" for index, status in enumerate(statuses)]
    assert lines[2::2] == [f"{'':<30}-> do it"] * len(statuses)


def test_a_machine_in_order(nnunet, monkeypatch, capsys):
    monkeypatch.setenv(sockets.VARIABLE, str(sockets.folder("trainers")))
    assert main(["doctor"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines()[1:] if "->" not in line]
    assert len(lines) == len(CHECKS) == 17
    assert [line for line in lines if line.startswith("FAIL")] == []


def test_a_machine_with_nothing_but_python():
    """Packages that cannot be imported must not stop it."""
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'nnunetv2', 'timm', 'numpy', 'nibabel', 'scipy', 'matplotlib')))\n"
        "from nnunet_ext.cli.main import main\n"
        "sys.exit(main(['doctor']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
    for line in (
        "FAIL  nnU-Net                 nnunetv2 is not installed",
        "FAIL  torch                   cannot be imported: ModuleNotFoundError: ",
        "FAIL  timm                    1.0",
        "FAIL  trainers folder         nnUNet_extTrainer is unset",
        "warn  foreign trainers        not checked: nnunetv2: expected nnU-Net to be installed",
        "FAIL  trainers                BANetTrainer does not load: ",
        "FAIL  nnU-Net's look-up       fails: ModuleNotFoundError: ",
        "FAIL  nnUNet_raw              is unset",
    ):
        assert line in done.stdout
