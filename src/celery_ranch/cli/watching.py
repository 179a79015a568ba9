"""What goes on: once (`status`), and again and again (`top`)."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from celery_ranch.cli.notation import visible
from celery_ranch.cli.reports import fitted, tables
from celery_ranch.cli.session import RanchCommand, Session, json_option, queue_option
from celery_ranch.errors import StoreError
from celery_ranch.observing.observer import Observer
from celery_ranch.observing.status import Status

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["status", "top"]

_QUIT = b"qQ\x03\x04"

#: How many keys a screen may have room for, by each order.
_MOST_KEYS = 20

_window_option = click.option(
    "--window",
    metavar="SECONDS",
    type=click.FloatRange(10, 21_600),
    default=60.0,
    show_default=True,
    help="Of how long a time rates, waits and parts received are.",
)


@click.command(cls=RanchCommand)
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(1, 100),
    default=10,
    show_default=True,
    help="How many keys to show by each order: backlog, oldest wait, lead.",
)
@_window_option
@queue_option
@json_option
@click.pass_obj
def status(session: Session, top: int, window: float, queue: str | None) -> None:
    """Show what waits and runs, how fast, for whom, and which workers there are.

    Without --queue all queues are shown.
    """
    queue = queue and session.queue(queue)
    seen = Observer(session.ranch, top, window).look(queue)
    if session.is_json:
        session.emit(seen)
        return
    _print(session, seen)


@click.command(cls=RanchCommand)
@click.option(
    "--interval",
    metavar="SECONDS",
    type=click.FloatRange(0.1, 3_600),
    default=1.0,
    show_default=True,
    help="How long to wait between two looks.",
)
@click.option("--looks", metavar="N", type=click.IntRange(1), help="End after so many looks.")
@_window_option
@queue_option
@json_option
@click.pass_obj
def top(
    session: Session, interval: float, looks: int | None, window: float, queue: str | None
) -> None:
    """Watch what goes on, until q or Ctrl-C.

    Where the output is no terminal there is one look, unless --looks asks for
    more. With --json each look is a line, until the program is ended.
    """
    queue = queue and session.queue(queue)
    observer = Observer(session.ranch, _MOST_KEYS, window)
    with suppress(KeyboardInterrupt):
        if sys.stdout.isatty() and not session.is_json:
            _live(session, observer, interval, looks, queue)
            return
        for number in _paced(interval, looks if session.is_json else looks or 1):
            seen = observer.look(queue)
            if session.is_json:
                session.emit(seen)
            else:
                _print(session, seen, is_first=not number)


def _print(session: Session, seen: Status, is_first: bool = True) -> None:
    for each in tables(seen, session.console.width):
        if not is_first:
            session.console.print()
        session.console.print(each)
        is_first = False


def _paced(interval: float, looks: int | None) -> Iterator[int]:
    number = 0
    while looks is None or number < looks:
        if number:
            time.sleep(interval)
        yield number
        number += 1


def _live(
    session: Session, observer: Observer, interval: float, looks: int | None, queue: str | None
) -> None:
    """Show a look after the other on the whole screen, through outages of the store."""
    from rich.live import Live

    console = session.console
    seen = observer.look(queue)
    number, trouble = 1, ""
    with (
        _keyboard() as pressed,
        Live(console=console, screen=True, auto_refresh=False, transient=True) as live,
    ):
        while True:
            live.update(_screen(seen, console.width, console.height, trouble), refresh=True)
            if pressed(interval) or number == looks:
                return
            number += 1
            try:
                seen, trouble = observer.look(queue), ""
            except StoreError as error:
                trouble = visible(str(error))


def _screen(seen: Status, width: int, height: int, trouble: str) -> RenderableType:
    """Return what fills a screen: a line about it, and what it has room for."""
    from rich.console import Group
    from rich.text import Text

    clock = time.strftime("%H:%M:%S", time.localtime(seen.at))
    head = Text(f"celery-ranch  {clock}  q ends", style="bold")
    if trouble:
        head.append(f"  {trouble}", style="bold red")
    return Group(head, *fitted(seen, width, height - 1))


@contextmanager
def _keyboard() -> Iterator[Callable[[float], bool]]:
    """Yield what waits so many seconds, and says whether somebody wants to leave."""
    if not sys.stdin.isatty():
        yield _sleep
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def pressed(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([descriptor], [], [], left)[0]:
                typed = os.read(descriptor, 64)
                if not typed or any(one in _QUIT for one in typed):
                    return True
        return False

    try:
        tty.setcbreak(descriptor)
        yield pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False
