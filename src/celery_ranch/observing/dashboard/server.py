"""The page's server: its files, the live feed, looks and controls."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from celery_ranch.errors import RanchError
from celery_ranch.observing.dashboard.answers import answer, failure, refusal_of
from celery_ranch.observing.dashboard.controls import CONTROLS
from celery_ranch.observing.dashboard.feed import MAX_VIEWERS, Feed
from celery_ranch.observing.dashboard.looking import looks
from celery_ranch.observing.dashboard.plans import Control
from celery_ranch.observing.dashboard.requests import Said
from celery_ranch.observing.dashboard.security import METRICS_PATH, Guard, Rights
from celery_ranch.observing.metrics.exporter import Exporter
from celery_ranch.observing.observer import Observer
from celery_ranch.ranch import Ranch

__all__ = ["listen", "make_server", "make_site"]

_STATIC = Path(__file__).parent / "static"

#: How many keys of a queue are shown by each order.
_TOP = 20


def make_site(ranch: Ranch, rights: Rights, *, look_seconds: float = 1.0) -> Starlette:
    """Return the page and all that it asks for, to be served by any ASGI server.

    Args:
        ranch: Whose fair queues are shown.
        rights: Who may look, and whether there are controls.
        look_seconds: How much time lies between two looks while somebody watches.
    """
    feed = Feed(Observer(ranch, top=_TOP).look, look_seconds)

    @contextlib.asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        yield
        feed.close()

    site = Starlette(
        routes=[
            Route("/", _file("index.html")),
            Route("/favicon.ico", _file("icon.svg")),
            Mount("/static", StaticFiles(directory=_STATIC)),
            Route("/api/session", partial(_session, ranch, rights)),
            Route("/api/live", partial(_live, feed)),
            Route(METRICS_PATH, partial(_metrics, Exporter(ranch))),
            *(Route(f"/api/{name}", _looking(ranch, look)) for name, look in looks().items()),
            *([] if rights.is_read_only else _controls(ranch)),
        ],
        middleware=[Middleware(Guard, rights=rights)],
        exception_handlers={
            RanchError: _refused,
            HTTPException: _not_served,
            Exception: _failed,
        },
        lifespan=life,
    )
    site.state.feed = feed
    return site


def make_server(ranch: Ranch, rights: Rights) -> uvicorn.Server:
    """Return a server of the page: `run([listen(host, port)])` serves until a signal comes.

    Args:
        ranch: Whose fair queues are shown.
        rights: Who may look, where, and whether there are controls.
    """
    site = make_site(ranch, rights)
    config = uvicorn.Config(
        site,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http="h11",
        loop="asyncio",
        limit_concurrency=2 * MAX_VIEWERS,
        timeout_graceful_shutdown=3,
    )
    return _Server(config, site.state.feed)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there.

    Raises:
        OSError: There is no such address here, or somebody listens there already.
    """
    [(family, *_, address), *_] = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return socket.create_server(address[:2], family=family)


class _Server(uvicorn.Server):
    """One that ends its live feed before it waits for what is being answered."""

    def __init__(self, config: uvicorn.Config, feed: Feed) -> None:
        super().__init__(config)
        self.feed = feed

    async def shutdown(self, sockets: Any = None) -> None:
        self.feed.close()
        await super().shutdown(sockets)


def _file(name: str) -> Callable[[Request], Any]:
    async def send(_: Request) -> Response:
        return FileResponse(_STATIC / name, headers={"cache-control": "no-cache"})

    return send


async def _session(ranch: Ranch, rights: Rights, _: Request) -> Response:
    """Answer with what the page has to know before all else."""
    return answer(
        {
            "version": metadata.version("celery-ranch"),
            "app": str(ranch.app.main or ""),
            "default_queue": ranch.default_queue,
            "is_read_only": rights.is_read_only,
            "controls": [] if rights.is_read_only else sorted(CONTROLS),
            "steering": None if rights.is_read_only else rights.steering,
        }
    )


async def _live(feed: Feed, _: Request) -> Response:
    if feed.viewers >= MAX_VIEWERS:
        return failure(503, f"{MAX_VIEWERS} pages watch already")
    headers = {"x-accel-buffering": "no"}
    return StreamingResponse(feed.events(), media_type="text/event-stream", headers=headers)


async def _metrics(exporter: Exporter, request: Request) -> Response:
    text, media_type = await run_in_threadpool(exporter.text, request.headers.get("accept", ""))
    return Response(text, headers={"content-type": media_type})


def _looking(ranch: Ranch, look: Callable[..., Any]) -> Callable[[Request], Any]:
    async def respond(request: Request) -> Response:
        return answer(await run_in_threadpool(look, ranch, request.query_params))

    return respond


def _controls(ranch: Ranch) -> list[Route]:
    return [
        Route(f"/api/{verb}/{name}", _steering(ranch, control, verb == "do"), methods=["POST"])
        for name, control in CONTROLS.items()
        for verb in ("plan", "do")
    ]


def _steering(ranch: Ranch, control: Control, is_done: bool) -> Callable[[Request], Any]:
    def steer(said: Said) -> Response:
        plan = control(ranch, said)
        if is_done:
            return answer({"done": plan.do() or plan.done})
        facts = {"sentences": plan.sentences, "button": plan.button, "drops": plan.drops}
        return answer(facts)

    async def respond(request: Request) -> Response:
        return await run_in_threadpool(steer, await Said.of(request))

    return respond


async def _refused(_: Request, error: Exception) -> Response:
    return refusal_of(error)


async def _not_served(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return failure(error.status_code, error.detail)


async def _failed(_: Request, error: Exception) -> Response:
    return failure(500, "that failed; the dashboard's log says why")
