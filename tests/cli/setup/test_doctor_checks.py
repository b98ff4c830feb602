"""Each check of ``nnunet_ext doctor``, on machines that have the trouble."""

import importlib
import importlib.metadata
import importlib.util
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from foreign_trainers import OWN, open_door, write_namesake

from nnunet_ext import sockets
from nnunet_ext.cli.setup import doctor_checks
from nnunet_ext.cli.setup.doctor_checks import Check


def versions(monkeypatch: pytest.MonkeyPatch, **installed: str | None) -> None:
    """Pretend that these distributions are installed; None is not."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        found = installed.get(name, "real")
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name) if found == "real" else found

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_a_line_of_the_table():
    assert str(Check("torch", "ok", "2.8")) == "ok    torch                   2.8"
    assert str(Check("torch", "warn", "no GPU", "buy one")).splitlines()[1] == f"{'':<30}-> buy one"


def test_python(monkeypatch):
    assert doctor_checks.check_python().status == "ok"
    monkeypatch.setattr(doctor_checks, "OLDEST_PYTHON", (99, 1))
    assert doctor_checks.check_python().status == "FAIL"


class TestNnunet:
    """The version range and half removed installations."""

    @pytest.mark.parametrize(
        ("version", "status", "text"),
        [
            ("2.7.9", "FAIL", "nnunetv2 2.7.9 is too old: before 2.8 it ignores nnUNet_extTrainer"),
            ("1.7", "FAIL", "nnunetv2 1.7 is too old: before 2.8 it ignores nnUNet_extTrainer"),
            ("2.8", "ok", "nnunetv2 2.8"),
            ("2.8.0", "ok", "nnunetv2 2.8.0"),
            ("2.8.12.dev1", "ok", "nnunetv2 2.8.12.dev1"),
            ("2.9", "FAIL", "nnunetv2 2.9 is newer than 2.8, for which this is made"),
            ("2.10.1", "FAIL", "nnunetv2 2.10.1 is newer than 2.8, for which this is made"),
            ("3.0", "FAIL", "nnunetv2 3.0 is newer than 2.8, for which this is made"),
        ],
    )
    def test_version(self, monkeypatch, version, status, text):
        versions(monkeypatch, nnunetv2=version)
        found = doctor_checks.check_nnunet()
        assert (found.status, found.message) == (status, text)
        assert ('pip install "nnunetv2>=2.8,<2.9"' in found.remedy) is (status == "FAIL")

    def test_missing(self, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert doctor_checks.check_nnunet() == Check(
            "nnU-Net", "FAIL", "nnunetv2 is not installed", 'pip install "nnunetv2>=2.8,<2.9"'
        )

    def test_leftover_folder(self, monkeypatch, tmp_path):
        (tmp_path / "nnunetv2" / "training").mkdir(parents=True)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: PathFinder.find_spec(name, [str(tmp_path)]))
        found = doctor_checks.check_nnunet()
        assert found.status == "FAIL"
        assert found.message == f"{tmp_path / 'nnunetv2'} is an empty leftover, not a package"
        assert found.remedy.startswith("remove that folder, pip install")

    def test_a_copy_without_version(self, monkeypatch):
        versions(monkeypatch, nnunetv2=None)
        assert doctor_checks.check_nnunet().status == "warn"


class TestRival:
    """Another package with our import name."""

    def test_none(self):
        assert doctor_checks.check_rival().status == "ok"

    def test_another_folder_on_the_path(self, monkeypatch, tmp_path):
        (tmp_path / "nnunet_ext").mkdir()
        (tmp_path / "nnunet_ext" / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(str(tmp_path))
        found = doctor_checks.check_rival()
        assert (found.status, found.message) == ("FAIL", f"also provided by {tmp_path / 'nnunet_ext'}")

    def test_stale_sockets_are_no_rival(self, monkeypatch, tmp_path):
        (tmp_path / "nnunet_ext" / "_sockets").mkdir(parents=True)
        monkeypatch.syspath_prepend(str(tmp_path))
        assert doctor_checks.check_rival().status == "ok"

    def test_another_distribution(self, monkeypatch):
        names = {"nnunet_ext": ["nnunet-ext", "Lifelong-nnUNet"]}
        monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: names)
        found = doctor_checks.check_rival()
        assert (found.status, found.message) == ("FAIL", "also provided by Lifelong-nnUNet")


class TestFolder:
    """nnU-Net's three folders."""

    def test_ok(self, monkeypatch, tmp_path):
        monkeypatch.setenv("nnUNet_results", str(tmp_path))
        assert doctor_checks.check_folder("nnUNet_results") == Check("nnUNet_results", "ok", str(tmp_path))
        assert list(tmp_path.iterdir()) == []

    def test_unset(self, monkeypatch):
        monkeypatch.delenv("nnUNet_results", raising=False)
        found = doctor_checks.check_folder("nnUNet_results")
        assert (found.status, found.message) == ("FAIL", "is unset")
        assert found.remedy.startswith("export nnUNet_results=/your/folder")

    def test_missing(self, monkeypatch, tmp_path):
        monkeypatch.setenv("nnUNet_raw", str(tmp_path / "a"))
        found = doctor_checks.check_folder("nnUNet_raw")
        assert (found.status, found.message) == ("FAIL", f"{tmp_path / 'a'} does not exist")
        assert not (tmp_path / "a").exists()

    @pytest.mark.skipif(not Path("/proc/version").exists(), reason="/proc is Linux's read-only folder")
    @pytest.mark.parametrize(("variable", "status"), [("nnUNet_results", "FAIL"), ("nnUNet_raw", "warn")])
    def test_unwritable(self, monkeypatch, variable, status):
        monkeypatch.setenv(variable, "/proc")
        found = doctor_checks.check_folder(variable)
        assert found.status == status
        assert found.message.startswith("/proc cannot be written: ")


class TestDoor:
    """nnUNet_extTrainer."""

    def test_open(self, monkeypatch, tmp_path):
        open_door(monkeypatch, tmp_path, OWN)
        assert doctor_checks.check_door().status == "ok"

    def test_open_through_a_link(self, monkeypatch, tmp_path):
        (tmp_path / "link").symlink_to(OWN)
        open_door(monkeypatch, tmp_path / "link")
        assert doctor_checks.check_door().status == "ok"

    @pytest.mark.parametrize("value", [None, ""])
    def test_closed(self, monkeypatch, value):
        monkeypatch.delenv("nnUNet_extTrainer", raising=False)
        if value is not None:
            monkeypatch.setenv("nnUNet_extTrainer", value)
        found = doctor_checks.check_door()
        assert found.status == "FAIL"
        assert found.message == "nnUNet_extTrainer is unset, stock commands cannot find our trainers"
        assert found.remedy == 'export nnUNet_extTrainer="$(nnunet_ext sockets)"'

    def test_elsewhere(self, monkeypatch, tmp_path):
        open_door(monkeypatch, tmp_path)
        found = doctor_checks.check_door()
        assert (found.status, found.message) == (
            "FAIL",
            f"nnUNet_extTrainer={tmp_path} does not name {OWN}",
        )
        assert found.remedy == 'export nnUNet_extTrainer="$(nnunet_ext sockets):$nnUNet_extTrainer"'

    def test_a_folder_that_does_not_exist(self, monkeypatch, tmp_path):
        open_door(monkeypatch, OWN, tmp_path / "gone")
        found = doctor_checks.check_door()
        assert found.status == "warn"
        assert f"{tmp_path / 'gone'} in nnUNet_extTrainer does not exist" in found.message

    def test_sockets_are_missing(self, monkeypatch):
        def folder(kind):
            raise FileNotFoundError("no folder")

        monkeypatch.setattr(sockets, "folder", folder)
        for found in (doctor_checks.check_door(), doctor_checks.check_sockets("trainers")):
            assert (found.status, found.message, found.remedy) == ("FAIL", "no folder", doctor_checks.REINSTALL)


class TestSockets:
    """Each name loads and pickles."""

    @pytest.mark.parametrize("kind", ["trainers", "planners"])
    def test_ours(self, kind):
        assert doctor_checks.check_sockets(kind) == Check(kind, "ok", ", ".join(sockets.names(kind)))

    @pytest.mark.parametrize(
        ("code", "problem"),
        [
            ("import no_such_package", "Bad does not load: ModuleNotFoundError: No module named 'no_such_package'"),
            ("raise RuntimeError('torn\\napart')", "Bad does not load: RuntimeError: torn"),
            ("class Bad(:", "Bad does not load: SyntaxError: invalid syntax"),
            (
                "Other = 1",
                "Bad does not load: AttributeError: module '_nnunet_ext_trainers_Bad' has no attribute 'Bad'",
            ),
            ("class Bad: ...", "Bad does not load: PicklingError: "),
        ],
    )
    def test_broken(self, monkeypatch, tmp_path, code, problem):
        (tmp_path / "Bad.py").write_text(code + "\n")
        monkeypatch.setattr(sockets, "folder", lambda kind: tmp_path)
        found = doctor_checks.check_sockets("trainers")
        assert found.status == "FAIL"
        assert found.message.startswith(problem)


class TestLookUp:
    """nnU-Net's own search."""

    @pytest.mark.parametrize("before", [None, "/nowhere"])
    def test_ours_are_found_and_the_door_is_left_as_it_was(self, monkeypatch, capfd, before):
        monkeypatch.delenv("nnUNet_extTrainer", raising=False)
        if before:
            monkeypatch.setenv("nnUNet_extTrainer", before)
        assert doctor_checks.check_look_up() == Check(
            "nnU-Net's look-up", "ok", "finds all our trainers if our folder is first"
        )
        assert os.environ.get("nnUNet_extTrainer") == before
        assert capfd.readouterr().out == ""

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (
                RuntimeError("operator torchvision::nms does not exist"),
                "fails: RuntimeError: operator torchvision::nms",
            ),
            (
                ModuleNotFoundError("No module named 'timm.layers'"),
                "fails: ModuleNotFoundError: No module named 'timm.l",
            ),
        ],
    )
    def test_a_search_that_fails(self, monkeypatch, error, text):
        def fails(name):
            raise error

        monkeypatch.setattr("nnunetv2.utilities.find_objects.recursive_find_trainer_class_by_name", fails)
        found = doctor_checks.check_look_up()
        assert found.status == "FAIL"
        assert found.message.startswith(text)

    def test_another_class_is_found(self, monkeypatch):
        monkeypatch.setattr("nnunetv2.utilities.find_objects.recursive_find_trainer_class_by_name", lambda name: Path)
        found = doctor_checks.check_look_up()
        file = sys.modules[Path.__module__].__file__
        assert (found.status, found.message) == ("FAIL", f"finds {file} for BANetTrainer")

    def test_a_foreign_folder_before_ours_on_the_path(self, monkeypatch, tmp_path):
        """Python imports the other module although nnU-Net looks into our folder."""
        foreign = write_namesake(tmp_path / "foreign")
        monkeypatch.syspath_prepend(str(OWN))
        monkeypatch.syspath_prepend(str(foreign))
        found = doctor_checks.check_look_up()
        sys.modules.pop("CoTrTrainer", None)  # nnU-Net discards only what is of our folder
        assert (found.status, found.message) == ("FAIL", f"finds {foreign / 'CoTrTrainer.py'} for CoTrTrainer")


class TestTimm:
    """timm, without which nnU-Net looks nowhere outside."""

    def test_ok(self):
        assert doctor_checks.check_timm().status == "ok"

    @pytest.mark.parametrize(
        ("version", "text"),
        [
            (None, "not installed; nnU-Net's look-up of our trainers needs timm.layers"),
            ("0.9.16", "0.9.16 is too old; nnU-Net's look-up of our trainers needs 1.0"),
            ("0.5.4", "0.5.4 is too old; nnU-Net's look-up of our trainers needs 1.0"),
        ],
    )
    def test_version(self, monkeypatch, version, text):
        versions(monkeypatch, timm=version)
        assert doctor_checks.check_timm() == Check("timm", "FAIL", text, 'pip install -U "timm>=1.0"')

    @pytest.mark.parametrize(
        ("error", "text", "remedy"),
        [
            (
                RuntimeError("operator torchvision::nms does not exist"),
                "cannot be imported: torchvision is built for another torch (RuntimeError: operator torchvision::nms",
                "pip install -U torch torchvision, both in one command and from one index",
            ),
            (
                ImportError("cannot import name 'x'"),
                "cannot be imported: ImportError: cannot",
                'pip install -U "timm>=1.0"',
            ),
        ],
    )
    def test_import(self, monkeypatch, error, text, remedy):
        def fails(name):
            raise error

        monkeypatch.setattr(importlib, "import_module", fails)
        found = doctor_checks.check_timm()
        assert (found.status, found.remedy) == ("FAIL", remedy)
        assert text in found.message


class TestTorch:
    """A GPU, none, or no torch."""

    def test_gpu(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "H100")
        memory = SimpleNamespace(total_memory=80 * 2**30)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: memory)
        assert doctor_checks.check_torch() == Check("torch", "ok", f"{torch.__version__}, H100, 80 GB")

    @pytest.mark.parametrize(("mps", "device"), [(False, "cpu"), (True, "mps")])
    def test_no_gpu(self, monkeypatch, mps, device):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        found = doctor_checks.check_torch()
        assert (found.status, found.message) == ("warn", f"{torch.__version__} without a CUDA GPU")
        assert found.remedy.startswith(f"train with -device {device}, on small plans")
        assert found.remedy.endswith("LitePlanner")

    def test_no_torch(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch", None)
        found = doctor_checks.check_torch()
        assert found.status == "FAIL"
        assert found.message.startswith("cannot be imported: ModuleNotFoundError: ")


class TestProcesses:
    """Numbers of worker processes."""

    @pytest.fixture(autouse=True)
    def four_cores(self, monkeypatch):
        monkeypatch.setattr(doctor_checks, "usable_cores", lambda: 4)
        monkeypatch.setattr(os, "cpu_count", lambda: 64)

    @pytest.mark.parametrize(
        ("value", "status", "message"),
        [
            ("4", "ok", "4 on 4 usable cores"),
            ("1", "ok", "1 on 4 usable cores"),
            ("5", "warn", "5 is more than the 4 usable cores"),
            (None, "warn", "12 (nnU-Net's default) is more than the 4 usable cores"),
            ("0", "FAIL", "0 trains without workers but breaks planning (torch needs one thread)"),
            ("many", "FAIL", "expected a number of processes, got 'many'"),
            ("", "FAIL", "expected a number of processes, got ''"),
        ],
    )
    def test_loaders(self, monkeypatch, value, status, message):
        monkeypatch.delenv("nnUNet_n_proc_DA", raising=False)
        if value is not None:
            monkeypatch.setenv("nnUNet_n_proc_DA", value)
        found = doctor_checks.check_loaders()
        assert (found.status, found.message) == (status, message)
        remedy = {"ok": "", "warn": "export nnUNet_n_proc_DA=4"}.get(status)
        assert found.remedy == remedy or (remedy is None and found.remedy.startswith("export nnUNet_n_proc_DA="))

    @pytest.mark.parametrize(
        ("value", "status", "message"),
        [
            ("2", "ok", "2 on 4 usable cores"),
            ("9", "warn", "9 is more than the 4 usable cores"),
            (None, "warn", "8 (nnU-Net's default) is more than the 4 usable cores"),
        ],
    )
    def test_others(self, monkeypatch, value, status, message):
        monkeypatch.delenv("nnUNet_def_n_proc", raising=False)
        if value is not None:
            monkeypatch.setenv("nnUNet_def_n_proc", value)
        found = doctor_checks.check_processes()
        assert (found.status, found.message) == (status, message)


def test_distutils(monkeypatch):
    assert doctor_checks.check_distutils().status == "ok"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert doctor_checks.check_distutils() == Check(
        "distutils", "FAIL", "missing; nnU-Net's preprocessing imports it", "pip install setuptools"
    )
