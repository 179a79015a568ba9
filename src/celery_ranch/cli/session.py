"""What one command runs with: an application's fair scheduling, and somebody who reads."""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click
from celery.bin.base import CLIContext
from click_didyoumean import DYMGroup

from celery_ranch.cli.completing import complete_queue
from celery_ranch.cli.notation import visible
from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.errors import RanchError, RanchWarning
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.engine import Engine

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["RanchCommand", "RanchGroup", "Session", "json_option", "queue_option", "yes_option"]

F = TypeVar("F", bound=Callable[..., Any])

#: Where output goes into a file or a program, lines are as long as they are.
_UNFOLDED = 5_000


class RanchCommand(click.Command):
    """A command whose errors are one line on stderr, and never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except BrokenPipeError:
            raise  # click ends quietly: who read has read enough
        except Exception as error:
            raise click.ClickException(_sentence(error)) from error


class RanchGroup(DYMGroup):
    """Commands in the order in which they were added."""

    command_class = RanchCommand

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class Session(CLIContext):
    """What one command runs with.

    Args:
        app: The Celery application.
        no_color: Whether not to colour anything.
        is_quiet: Whether not to tell of what went well.
        has_own_app: Whether the application is a stand-in, made for a store's URL.
    """

    def __init__(
        self, app: Any, no_color: bool, is_quiet: bool = False, has_own_app: bool = False
    ) -> None:
        super().__init__(app, no_color, workdir=None, quiet=is_quiet)
        self.has_own_app = has_own_app
        self.is_json = False

    @cached_property
    def ranch(self) -> Ranch:
        """The application's fair scheduling.

        Raises:
            click.ClickException: There is no store that another process can see.
        """
        if self.has_own_app and "url" not in self.app.conf.celery_ranch:
            raise click.UsageError(
                "say where the store is, with --store URL before the command, or by"
                " CELERY_RANCH_STORE"
            )
        ranch = Ranch(self.app)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RanchWarning)
            engine = ranch.engine
        if isinstance(engine, MemoryEngine):
            raise click.ClickException(
                "entries are kept in a process's memory, where no command can see them: name an"
                " application that has a store (celery -A app ranch), or the store itself"
                " (celery-ranch --store URL)"
            )
        click.get_current_context().call_on_close(engine.close)
        return ranch

    @property
    def engine(self) -> Engine:
        """The engine of the store."""
        return self.ranch.engine

    def queue(self, name: str | None) -> str:
        """Return the queue that is meant: the one named, or else the default one.

        Where there is a store and no application, the only queue is the default one.
        A name that the store does not know may be a slip: that is told on stderr.
        """
        default = self.ranch.default_queue
        if name is None and not self.has_own_app:
            return default
        known = self.engine.queues()
        if name is not None:
            name = self.ranch.fair_queue(name)
            if name != default and name not in known:
                self.note(f"the queue {visible(name)} has held nothing yet")
            return name
        names = sorted(known) or [default]
        if len(names) > 1:
            shown = ", ".join(map(visible, names[:20]))
            raise click.UsageError(f"say which queue is meant, with --queue: {shown}")
        return names[0]

    @cached_property
    def console(self) -> Console:
        """Where tables go: stdout, plain and unfolded where it is no terminal."""
        from rich.console import Console

        return Console(
            width=None if sys.stdout.isatty() else _UNFOLDED,
            no_color=self.no_color or None,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def say(self, sentence: str, /, **facts: Any) -> None:
        """Tell what was done: in a sentence, or as JSON to a program."""
        if self.is_json:
            self.emit(facts)
        elif not self.quiet:
            click.echo(sentence)

    def emit(self, value: Any) -> None:
        """Write a value as JSON in one line."""
        click.echo(json.dumps(_plain(value), default=repr, allow_nan=False))

    def note(self, sentence: str) -> None:
        """Tell on stderr what somebody should know, and no program reads."""
        click.echo(sentence, err=True)

    @contextmanager
    def working(self, what: str) -> Iterator[Callable[[int], None]]:
        """Show on stderr, where that is a terminal, that something takes its time.

        Yields what takes how much is done.
        """
        if not sys.stderr.isatty():
            yield lambda done: None
            return
        from rich.console import Console

        console = Console(stderr=True, no_color=self.no_color or None, markup=False)
        with console.status(what) as status:
            yield lambda done: status.update(f"{what}: {done:,}")

    def check_results(self) -> None:
        """Make sure that who waits for a dropped task can be told.

        Raises:
            click.UsageError: It is not known where results are.
        """
        if self.has_own_app and not self.app.conf.result_backend:
            raise click.UsageError(
                "who waits for a dropped task's result is told there: name it with"
                " --result-backend URL before the command (disabled:// where there is none)"
            )

    def confirm(self, question: str, is_confirmed: bool) -> None:
        """Ask before something is dropped, unless that was answered already.

        Raises:
            click.ClickException, click.Abort: Nobody said yes.
        """
        if is_confirmed:
            return
        try:
            click.confirm(question, abort=True, err=True)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            raise click.ClickException(
                "nothing was done, for nobody said yes: --yes goes ahead without asking"
            ) from None


def queue_option(function: F) -> F:
    """Let a command be about another queue than the default one."""
    return click.option(
        "-Q",
        "--queue",
        metavar="NAME",
        shell_complete=complete_queue,
        help="The queue; the default one if it is left out.",
    )(function)


def json_option(function: F) -> F:
    """Let a command write JSON for programs, one object a line."""

    def remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if isinstance(ctx.obj, Session):
            ctx.obj.is_json = value

    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Write JSON, one object a line.",
    )(function)


def yes_option(function: F) -> F:
    """Let a command go ahead without asking."""
    return click.option("--yes", "-y", is_flag=True, help="Go ahead without asking.")(function)


def _sentence(error: Exception) -> str:
    """Return what went wrong in one line."""
    told = visible(" ".join(str(error).split("\n")).strip())
    if isinstance(error, RanchError) and told:
        return told
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def _plain(value: Any) -> Any:
    """Return a value as JSON can have it: no limit is "inf", and what is no number null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else "inf" if value == math.inf else None
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    return value
