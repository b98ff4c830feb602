"""The table: every trainer of ours (columns) x every stock feature (rows), through nnU-Net's own commands.

A new trainer joins by its file in ``trainers/``. A new row is one function::

    @pytest.mark.row("what the row tests", expensive=True)
    def test_it(trainer: str) -> None: ...

A row runs for every trainer. ``of="collections"``, ``of="datasets"`` or ``of="unlabelled images"`` with ``why=`` says
that it has no meaning for the others. A trainer that pre-trains runs only rows with ``pretraining=True``, and those of
``of="pretraining"``: the others are about segmentation. Trainers of collections run it on a collection (see
``stock.py``); in a configuration that collections do not have, which a parameter or ``configuration=`` tells, their
cell is the refusal.

The fixed subset has one trainer of collections in turn, as they share their code, and all others. Of a row that is
marked ``of_each_kind`` it has one in turn of each kind (of one dataset, with unlabelled images, of collections): code
that all trainers share. Of an ``expensive`` row it has one in turn. The other cells carry the mark ``matrix``.
With ``NNUNET_EXT_CONFORMANCE=MyTrainer`` it runs for a trainer of another package, too, which a folder in
``nnUNet_extTrainer`` holds: ``pytest tests/conformance -k MyTrainer``.

``level`` says so where a row does not go through a stock command. The first line of the module's docstring heads its
rows in the table.

Worker pools become threads here: a spawned worker imports for ten seconds and does a tenth of a second's work.
``test_workers.py`` runs the real ones.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest
import torch
from thread_context import ThreadContext

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # stock.py and the like, also in child processes

from children import TRAINERS  # noqa: E402
from report import Cell, Row, Table  # noqa: E402
from stock import COLLECTION_TRAINERS, PRETRAINING_TRAINERS, SEMI_SUPERVISED_TRAINERS, train  # noqa: E402

from nnunet_ext import sockets  # noqa: E402
from nnunet_ext.errors import UserError  # noqa: E402

FOLDERS = os.pathsep.join([str(sockets.folder("trainers")), os.environ.get(sockets.VARIABLE, "")])
TRAINERS_OF = {
    None: TRAINERS,
    "collections": COLLECTION_TRAINERS,
    "unlabelled images": SEMI_SUPERVISED_TRAINERS,
    "datasets": [trainer for trainer in TRAINERS if trainer not in COLLECTION_TRAINERS],
    "pretraining": PRETRAINING_TRAINERS,
}
SEGMENTS_NOTHING = "pre-trains, and segments nothing"
KINDS = (
    [each for each in TRAINERS_OF["datasets"] if each not in (*SEMI_SUPERVISED_TRAINERS, *PRETRAINING_TRAINERS)],
    SEMI_SUPERVISED_TRAINERS,
    COLLECTION_TRAINERS,
)
NOT_OF_COLLECTIONS = ("2d", "3d_lowres")
SMOKE = "plain, 3d_fullres"  # this row's first trainer of each kind stands for the others in `pytest -m smoke`
TABLE = pytest.StashKey[Table]()
CELL = pytest.StashKey[Cell]()


def pytest_configure(config: pytest.Config) -> None:
    """Declare our marker."""
    row = "row(title, expensive=False, of_each_kind=False, level=None, configuration=None, of=None, why=None, "
    row += "pretraining=False)"
    config.addinivalue_line("markers", f"{row}: a row of the conformance table")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One cell for each trainer."""
    if "trainer" in metafunc.fixturenames:
        metafunc.parametrize("trainer", TRAINERS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Lay out the table, drop cells without meaning, and mark those that the fixed subset leaves out."""
    table = config.stash.setdefault(TABLE, Table(TRAINERS))
    rows: list[Any] = []
    expensive: list[Any] = []
    dropped = []
    for item in items:
        mark = item.get_closest_marker("row")
        if mark is None or not item.path.is_relative_to(HERE):
            continue
        parameters = dict(item.callspec.params)  # type: ignore[attr-defined]
        trainer = parameters.pop("trainer")
        row = _row((item.module.__doc__ or "").splitlines()[0], mark.args[0], parameters)  # type: ignore[attr-defined]
        cell = item.stash[CELL] = table.cell(row, trainer, mark.kwargs.get("level"))
        able = TRAINERS_OF[mark.kwargs.get("of")]
        why = mark.kwargs.get("why")
        if not (mark.kwargs.get("pretraining") or mark.kwargs.get("of") == "pretraining"):
            able = [each for each in able if each not in PRETRAINING_TRAINERS]
            why = SEGMENTS_NOTHING if trainer in PRETRAINING_TRAINERS else why
        if trainer not in able:
            cell.not_applicable = why
            dropped.append(item)
            continue
        if mark.kwargs.get("expensive"):
            kept = _in_turn(able, _place(row, expensive)) == trainer
        elif mark.kwargs.get("of_each_kind"):
            kept = trainer in (_in_turn(kind, _place(row, rows)) for kind in KINDS)
        else:
            kept = trainer not in COLLECTION_TRAINERS or _in_turn(COLLECTION_TRAINERS, _place(row, rows)) == trainer
        if not kept:
            item.add_marker("matrix")
        if row.title == SMOKE and trainer in {kind[0] for kind in KINDS if kind}:
            item.add_marker("smoke")
    items[:] = [item for item in items if item not in dropped]
    config.hook.pytest_deselected(items=dropped)


def _row(group: str, title: str, parameters: dict[str, Any]) -> Row:
    """Return the row; parameters at the end of a title, and the configuration there, tell variants of one feature."""
    feature = re.sub(r"([,;] (\{\w+\}|2d|3d_fullres))+$", "", title)
    return Row(group, feature.format(**parameters), title.format(**parameters))


def _in_turn(trainers: Sequence[str], turn: int) -> str | None:
    return trainers[turn % len(trainers)] if trainers else None


def _place(row: Any, rows: list[Any]) -> int:
    """Return a row's place in a list, where it is put if it is new."""
    if row not in rows:
        rows.append(row)
    return rows.index(row)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Of a row in a configuration that collections do not have, their trainers' cell is the refusal."""
    mark = pyfuncitem.get_closest_marker("row")
    if mark is None or CELL not in pyfuncitem.stash:
        return None
    parameters = pyfuncitem.callspec.params
    trainer = parameters["trainer"]
    named = mark.kwargs.get("configuration") or parameters.get("configuration", parameters.get("form"))
    if trainer not in COLLECTION_TRAINERS or named not in NOT_OF_COLLECTIONS:
        return None
    with refusal(pyfuncitem.stash[CELL], trainer, UserError, "expected configuration 3d_fullres"):
        train(trainer, "plain", named)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """Note the outcome in the cell."""
    report = yield
    if CELL in item.stash and (report.when == "call" or report.outcome != "passed"):
        item.stash[CELL].outcome = report.outcome
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the outcomes of a process of pytest-xdist."""
    outcomes = getattr(node, "workeroutput", {}).get("conformance", [])  # none of one that crashed
    node.config.stash.setdefault(TABLE, Table(TRAINERS)).merge(outcomes)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table, or send it to the process that does."""
    if TABLE not in session.config.stash:
        return
    table = session.config.stash[TABLE]
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["conformance"] = table.plain()
    elif file := session.config.getoption("--conformance-report"):
        command = "pytest " + shlex.join(session.config.invocation_params.args)
        Path(file).write_text(table.markdown(command), encoding="utf-8")


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
    monkeypatch.setenv(sockets.VARIABLE, FOLDERS)
    threads, set_threads = torch.get_num_threads(), torch.set_num_threads
    set_threads(1)  # the networks are tiny; stock commands would take every core
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    get_context = multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: ThreadContext(get_context(method)))
    monkeypatch.setattr("nnunetv2.utilities.utils.Pool", ThreadPool)
    yield
    set_threads(threads)


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> Cell:
    """This cell of the table: takes notes and refusals."""
    return request.node.stash[CELL]


@pytest.fixture
def refuses(cell: Cell, trainer: str) -> Any:
    """``with refuses(Error, match="..."):`` the cell is a refusal, and the table shows the error's text."""
    return functools.partial(refusal, cell, trainer)


@contextlib.contextmanager
def refusal(cell: Cell, trainer: str, error: type[Exception], match: str) -> Iterator[None]:
    """Expect an error and put its text into the cell."""
    with pytest.raises(error, match=match) as caught:
        yield
    text = str(caught.value).replace(trainer, "TRAINER")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        text = text.replace(os.environ[name], f"${name}")
    cell.refusal = text
