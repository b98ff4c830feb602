"""The program: overview, exit codes, one line for a mistake."""

import errno

import pytest

from nnunet_ext import __version__
from nnunet_ext.cli.main import COMMANDS, main


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_overview_names_every_command(capsys, words):
    assert main(words) == 0
    text = capsys.readouterr().out
    expected = {"demo", "plan_and_preprocess", "train", "predict", "variant", "info", "doctor", "sockets"}
    expected |= {"collect", "predict_tasks", "task_views", "export_backbone", "preprocess_unlabelled", "hide_labels"}
    expected |= {"propagate_labels"}
    expected |= {
        "export",
        "export_onnx",
        "predict_onnx",
        "strip",
        "compare",
        "check_parity",
        "plan_finetune",
        "qa",
        "next_cases",
        "import_v1",
        "inspect",
        "evaluate",
        "rank",
    }
    assert expected <= set(COMMANDS)
    assert all(f"\n  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"train"}))
def test_every_command_has_help(capsys, name):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert f"usage: nnunet_ext {name}" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_unknown_command(mistake):
    assert mistake("doktor").startswith("unknown command 'doktor'. Did you mean 'doctor'? Legal: ")


def test_unknown_flag(mistake):
    assert mistake("info --jsn") == "unrecognized arguments: --jsn. See nnunet_ext info --help"


def test_the_line_names_the_package_and_the_doctor(monkeypatch, capsys):
    def missing(self):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(COMMANDS["info"], "run", missing)
    assert main(["info"]) == 2
    assert capsys.readouterr().err == "nnunet_ext: error: expected package torch, found none. Run nnunet_ext doctor\n"


def test_a_full_disk_is_one_line_and_other_io_errors_are_not_hidden(monkeypatch, capsys):
    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device", "plans.json")

    monkeypatch.setattr(COMMANDS["info"], "run", full)
    assert main(["info"]) == 2
    assert "plans.json: expected to write, got 'No space left on device'. Free space" in capsys.readouterr().err

    def other(self):
        raise OSError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(COMMANDS["info"], "run", other)
    with pytest.raises(OSError, match="Broken pipe"):
        main(["info"])
