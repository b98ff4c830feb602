"""The table: every trainer of ours (columns) x every stock feature (rows), through nnU-Net's own commands.

A new trainer joins by its file in ``trainers/``. A new row is one function::

    @pytest.mark.row("what the row tests", expensive=True)
    def test_it(trainer: str) -> None: ...

A row runs for every trainer. ``expensive`` leaves one trainer in turn in the fixed subset; the other cells carry the
mark ``matrix``. ``level`` says so where a row does not go through a stock command. The first line of the module's
docstring heads its rows in the table.

Worker pools become threads here: a spawned worker imports for ten seconds and does a tenth of a second's work.
``test_workers.py`` runs the real ones.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import shlex
import sys
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # stock.py and the like, also in child processes

from report import Cell, Table  # noqa: E402

from nnunet_ext import sockets  # noqa: E402

TRAINERS = sockets.names("trainers")
TABLE = pytest.StashKey[Table]()
CELL = pytest.StashKey[Cell]()


def pytest_configure(config: pytest.Config) -> None:
    """Declare our marker."""
    config.addinivalue_line("markers", "row(title, expensive=False, level=None): a row of the conformance table")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One cell for each trainer."""
    if "trainer" in metafunc.fixturenames:
        metafunc.parametrize("trainer", TRAINERS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Lay out the table; of an expensive row, one trainer in turn stays in the fixed subset."""
    table = config.stash.setdefault(TABLE, Table(TRAINERS))
    expensive: list[Any] = []
    for item in items:
        mark = item.get_closest_marker("row")
        if mark is None or not item.path.is_relative_to(HERE):
            continue
        parameters = dict(item.callspec.params)  # type: ignore[attr-defined]
        trainer = parameters.pop("trainer")
        row = ((item.module.__doc__ or "").splitlines()[0], mark.args[0].format(**parameters))  # type: ignore[attr-defined]
        item.stash[CELL] = table.cell(row, trainer, mark.kwargs.get("level"))
        if mark.kwargs.get("expensive"):
            if row not in expensive:
                expensive.append(row)
            if trainer != TRAINERS[expensive.index(row) % len(TRAINERS)]:
                item.add_marker("matrix")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """Note the outcome in the cell."""
    report = yield
    if CELL in item.stash and (report.when == "call" or report.outcome != "passed"):
        item.stash[CELL].outcome = report.outcome
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table."""
    file = session.config.getoption("--conformance-report")
    if file and TABLE in session.config.stash:
        command = "pytest " + shlex.join(session.config.invocation_params.args)
        Path(file).write_text(session.config.stash[TABLE].markdown(command), encoding="utf-8")


class _ThreadContext:
    """A multiprocessing context whose pools are threads."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def Pool(self, processes: int | None = None, *_: Any, **__: Any) -> ThreadPool:  # noqa: N802
        return ThreadPool(processes)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds nnU-Net's three folders."""
    return tmp_path_factory.mktemp("conformance")


@pytest.fixture(autouse=True)
def _nnunet(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """nnU-Net's variables, the open door, no worker processes and one thread."""
    for name in ("raw", "preprocessed", "results"):
        (root / name).mkdir(exist_ok=True)
        monkeypatch.setenv(f"nnUNet_{name}", str(root / name))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv(sockets.VARIABLE, str(sockets.folder("trainers")))
    threads, set_threads = torch.get_num_threads(), torch.set_num_threads
    set_threads(1)  # the networks are tiny; stock commands would take every core
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    get_context = multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: _ThreadContext(get_context(method)))
    monkeypatch.setattr("nnunetv2.utilities.utils.Pool", ThreadPool)
    yield
    set_threads(threads)


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> Cell:
    """This cell of the table: takes notes and refusals."""
    return request.node.stash[CELL]


@pytest.fixture
def refuses(cell: Cell, root: Path, trainer: str) -> Any:
    """``with refuses(Error, match="..."):`` the cell is a refusal, and the table shows the error's text."""

    @contextlib.contextmanager
    def context(error: type[Exception], match: str) -> Iterator[None]:
        with pytest.raises(error, match=match) as caught:
            yield
        text = str(caught.value).replace(trainer, "TRAINER")
        for name in ("raw", "preprocessed", "results"):
            text = text.replace(str(root / name), f"$nnUNet_{name}")
        cell.refusal = text

    return context
