"""A dashboard that is served for a test, and somebody who asks it over HTTP."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import quote, urlencode

from celery_ranch.observing.dashboard.security import Rights
from celery_ranch.observing.dashboard.server import listen, make_server
from tests.servers import eventually

__all__ = ["Answer", "Dashboard"]


@dataclass(frozen=True)
class Answer:
    """What was answered: its status, its headers by lower-case names, its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Dashboard:
    """One that is served from a thread of this process."""

    def __init__(self, ranch: Any, **rights: Any) -> None:
        self.rights = Rights(**rights)
        self._server = make_server(ranch, self.rights)
        self._socket = listen(self.rights.host, 0)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def viewers(self) -> int:
        return self._server.feed.viewers

    @property
    def is_looking(self) -> bool:
        """Whether the store is looked at again and again."""
        return self._server.feed.is_looking

    def __enter__(self) -> Dashboard:
        self._thread.start()
        eventually(lambda: self._server.started, 20, "the dashboard is served")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()
        assert not self._thread.is_alive()

    def headers(self) -> dict[str, str]:
        """What the page sends along."""
        token = self.rights.token
        return {} if token is None else {"authorization": f"Bearer {token}"}

    def ask(
        self, path: str, *, method: str = "GET", headers: Any = None, body: Any = None
    ) -> Answer:
        with self._asked(path, method, headers, body) as answer:
            return Answer(answer.status, _headers(answer), answer.read())

    def look(self, name: str, query: Any = ()) -> Answer:
        return self.ask(f"/api/{quote(name)}?{urlencode(query)}")

    def steer(self, verb: str, name: str, facts: Any, **headers: str) -> Answer:
        sent = {
            **self.headers(),
            "content-type": "application/json",
            "x-ranch-steering": self.rights.steering,
            **headers,
        }
        body = facts if isinstance(facts, bytes) else json.dumps(facts)
        return self.ask(f"/api/{verb}/{name}", method="POST", headers=sent, body=body)

    @contextmanager
    def watch(self) -> Iterator[Iterator[tuple[str, Any]]]:
        """Yield the events of the live feed, as (kind, data)."""
        with self._asked("/api/live", "GET", None, None) as answer:
            assert (answer.status, answer.headers["content-type"]) == (
                200,
                "text/event-stream; charset=utf-8",
            )
            yield _events(answer)

    @contextmanager
    def _asked(self, path: str, method: str, headers: Any, body: Any) -> Iterator[HTTPResponse]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            sent = self.headers() if headers is None else headers
            connection.request(method, path, body, sent)
            yield connection.getresponse()
        finally:
            if connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()


def _headers(answer: HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.getheaders()}


def _events(answer: HTTPResponse) -> Iterator[tuple[str, Any]]:
    kind = ""
    for line in answer:
        name, _, value = line.decode("ascii").rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)
