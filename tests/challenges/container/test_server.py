"""The server, with a model that is a function; ``test_entry_point.py`` has a real one."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from nnunet_ext.challenges.container.server import InvokeServer
from nnunet_ext.errors import UserError


def ask(port: int, path: str, method: str = "GET", data: bytes | None = None) -> tuple[int, str]:
    """Return status and detail."""
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", data, method=method), timeout=30) as answer:
            return answer.status, json.load(answer)["detail"]
    except HTTPError as error:
        return error.code, json.load(error)["detail"]


@contextmanager
def serving(load: Callable[[], Callable[[], object]]) -> Iterator[int]:
    server = InvokeServer(0)
    thread = Thread(target=server.serve, args=(load,), daemon=True)
    thread.start()
    try:
        yield server.port
    finally:
        server.close()
    thread.join(10)
    assert not thread.is_alive()


def test_ready_only_when_loaded() -> None:
    go = Event()

    def load() -> Callable[[], object]:
        go.wait(30)
        return lambda: None

    with serving(load) as port:
        assert ask(port, "/health") == (503, "the model is being loaded")
        assert ask(port, "/invoke", "POST") == (503, "the model is being loaded")
        go.set()
        while ask(port, "/health")[0] != 200:
            pass
        assert ask(port, "/invoke", "POST", b'{"any": "body"}') == (201, "predicted")


def test_a_failed_call_spoils_no_other(caplog: pytest.LogCaptureFixture) -> None:
    outcomes: list[Exception | None] = [None, UserError("image: damaged\nmore"), None, MemoryError("too large"), None]

    def run() -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    with serving(lambda: run) as port:
        while ask(port, "/health")[0] != 200:
            pass
        with caplog.at_level(logging.ERROR):
            answers = [ask(port, "/invoke", "POST") for _ in range(5)]
        assert answers == [
            (201, "predicted"),
            (500, "image: damaged"),
            (201, "predicted"),
            (500, "too large"),
            (201, "predicted"),
        ]
        assert "this case was not predicted" in caplog.text
        assert ask(port, "/other") == ask(port, "/health", "POST") == ask(port, "/invoke") == (404, "no such path")


def test_a_model_that_cannot_be_loaded() -> None:
    """The server ends, and the caller is told."""

    def load() -> Callable[[], object]:
        raise UserError("no model")

    server = InvokeServer(0)
    with pytest.raises(UserError, match="no model"):
        server.serve(load)
