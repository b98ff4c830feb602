"""The program starts the command line, and an early Ctrl-C gets one line."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import pytest

from nnunet_ext.cli.start import start


def test_it_is_the_program(monkeypatch, capsys):
    (program,) = entry_points(group="console_scripts", name="nnunet_ext")
    assert program.load() is start
    monkeypatch.setattr(sys, "argv", ["nnunet_ext", "--version"])
    assert start() == 0
    assert capsys.readouterr().out.strip()


def test_ctrl_c_while_python_imports(monkeypatch, capsys):
    class Interrupts:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "nnunet_ext.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "nnunet_ext.cli.main", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupts(), *sys.meta_path])
    assert start() == 130
    assert capsys.readouterr().err == "nnunet_ext: interrupted (SIGINT) before it began.\n"


def test_other_errors_are_shown(monkeypatch):
    monkeypatch.setitem(sys.modules, "nnunet_ext.cli.main", None)
    with pytest.raises(ImportError):
        start()
