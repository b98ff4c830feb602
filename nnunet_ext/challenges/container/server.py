"""The platform's *invoke* interface: a small HTTP server around a loaded model."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from nnunet_ext.errors import one_line

logger = logging.getLogger(__name__)
PORT = 4743


class InvokeServer:
    """Answers ``GET /health`` and ``POST /invoke``.

    ``/health`` is 200 once the model is loaded, before that 503. ``/invoke`` is 201 if the case was predicted, else
    500 with the reason, and then the next call is answered as if nothing had happened. Calls wait for each other.

    Args:
        port: To listen on; 0: any that is free.

    Attributes:
        port: That it listens on.
    """

    def __init__(self, port: int = PORT) -> None:
        self._run: Callable[[], Any] | None = None
        self._one_at_a_time = Lock()
        self._http = ThreadingHTTPServer(("", port), self._handler())
        self.port: int = self._http.server_address[1]

    def serve(self, load: Callable[[], Callable[[], Any]]) -> None:
        """Listen, load the model, and answer calls until :meth:`close`.

        Args:
            load: Loads the model; returns what predicts the case that is in the input folder.
        """
        listening = Thread(target=self._http.serve_forever)
        listening.start()
        logger.info("listening on port %d", self.port)
        try:
            self._run = load()
            logger.info("ready")
        except BaseException:
            self.close()
            raise
        listening.join()

    def close(self) -> None:
        """Stop listening."""
        Thread(target=self._http.shutdown).start()

    def health(self) -> tuple[HTTPStatus, str]:
        """Answer ``GET /health``."""
        if self._run is None:
            return HTTPStatus.SERVICE_UNAVAILABLE, "the model is being loaded"
        return HTTPStatus.OK, "ready"

    def invoke(self) -> tuple[HTTPStatus, str]:
        """Answer ``POST /invoke``: whatever is wrong with one case must not end the server."""
        if self._run is None:
            return self.health()
        with self._one_at_a_time:
            try:
                self._run()
            except Exception as error:
                logger.exception("this case was not predicted")
                return HTTPStatus.INTERNAL_SERVER_ERROR, one_line(error)
        return HTTPStatus.CREATED, "predicted"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({"/health": server.health})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self._answer({"/invoke": server.invoke})

            def log_message(self, format: str, *words: Any) -> None:  # noqa: A002
                logger.debug(format, *words)

            def _answer(self, known: dict[str, Callable[[], tuple[HTTPStatus, str]]]) -> None:
                path = self.path.partition("?")[0].rstrip("/")
                status, detail = known[path]() if path in known else (HTTPStatus.NOT_FOUND, "no such path")
                content = json.dumps({"detail": detail}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        return Handler
