"""Keys and tasks as they stand, and whether a store is sound: commands that change nothing."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from celery_ranch.cli.completing import complete_key
from celery_ranch.cli.notation import read_key, visible, written_key
from celery_ranch.cli.reports import key_lines
from celery_ranch.cli.session import RanchCommand, Session, json_option, queue_option
from celery_ranch.cli.showing import Words, ago, count, number, table
from celery_ranch.observing.observer import Observer
from celery_ranch.ranch import PendingTask
from celery_ranch.scheduling.model import KeySnapshot

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["check", "key", "keys"]

#: What comes first, by each order.
_SORTED: dict[str, Callable[[KeySnapshot], Any]] = {
    "waiting": lambda each: (each.waiting, each.delayed, each.in_service),
    "delayed": lambda each: each.delayed,
    "running": lambda each: each.in_service,
    "share": lambda each: each.share,
    "served": lambda each: each.last_leased_at_us or 0,
}


@click.command(cls=RanchCommand)
@click.option("--tag", metavar="NAME[=VALUE]", help="Only keys with this tag.")
@click.option("--idle", is_flag=True, help="Also keys of which nothing waits or runs.")
@click.option(
    "--sort", "order", type=click.Choice([*_SORTED]), default="waiting", help="Which come first."
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="How many to show.",
)
@queue_option
@json_option
@click.pass_obj
def keys(
    session: Session, tag: str | None, idle: bool, order: str, limit: int, queue: str | None
) -> None:
    """List the keys of a queue, those with most waiting first.

    All keys are looked at, slice by slice. With --json each key is written
    when it is found, without --limit and --sort.
    """
    name = session.queue(queue)
    with session.working("looking at keys") as report:
        found = _counted(_keys(session, name, tag, idle), report)
        if session.is_json:
            for each in found:
                session.emit({"queue": name, **asdict(each)})
            return
        tally = 0

        def tallied() -> Iterator[KeySnapshot]:
            nonlocal tally
            for each in found:
                tally += 1
                yield each

        shown = heapq.nlargest(limit, tallied(), key=_SORTED[order])
    session.console.print(_key_table(shown))
    if tally > len(shown):
        session.note(f"and {tally - len(shown):,} more; --limit shows more of them")


def _keys(session: Session, queue: str, tag: str | None, idle: bool) -> Iterator[KeySnapshot]:
    ranch = session.ranch
    found: Iterable[KeySnapshot] = ranch.keys(queue)
    if tag is not None:
        name, equals, value = tag.partition("=")
        paths = ranch.tagged(name, value if equals else None, queue)
        found = (ranch.key(path, queue) for path in paths)
    for each in found:
        is_idle = not (each.waiting or each.delayed or each.in_service or each.is_paused)
        if idle or tag is not None or not is_idle:
            yield each


def _counted(found: Iterable[KeySnapshot], report: Callable[[int], None]) -> Iterator[KeySnapshot]:
    for done, each in enumerate(found, 1):
        if done % 1_000 == 0:
            report(done)
        yield each


def _key_table(found: Iterable[KeySnapshot]) -> Table:
    now = time.time()
    return table(
        "",
        (Words("Key"), "Waiting", "Delayed", "Running", "Share", "Last served", Words("State")),
        (
            (
                written_key(each.key),
                count(each.waiting),
                count(each.delayed),
                count(each.in_service),
                number(each.share),
                ago(_since(each, now)),
                " ".join((*(["paused"] if each.is_paused else []), *each.tags)),
            )
            for each in found
        ),
    )


def _since(snapshot: KeySnapshot, now: float) -> float | None:
    at_us = snapshot.last_leased_at_us
    return None if at_us is None else now - at_us / 1_000_000


@click.command(cls=RanchCommand)
@click.argument("key", shell_complete=complete_key)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(0, 1_000),
    default=10,
    show_default=True,
    help="How many of its tasks to show.",
)
@queue_option
@json_option
@click.pass_obj
def key(session: Session, key: str, limit: int, queue: str | None) -> None:
    """Show one key, and the first of its tasks that wait."""
    path, name = read_key(key), session.queue(queue)
    status = Observer(session.ranch).key(path, name)
    tags = session.ranch.key(path, name).tags
    data = session.ranch.custom_data(path, name)
    tasks = session.ranch.pending(path, name, limit=limit) if limit else ()
    if session.is_json:
        session.emit({"queue": name, **asdict(status), "tags": tags, "data": data, "tasks": tasks})
        return
    for line in key_lines(status, tags, data):
        click.echo(visible(line))
    if tasks:
        session.console.print()
        session.console.print(_task_table(tasks))
    rest = status.waiting + status.delayed - len(tasks)
    if limit and rest > 0:
        session.note(f"and {rest:,} more, those of keys below it included")


def _task_table(tasks: Iterable[PendingTask]) -> Table:
    rows = (
        (each.task_id or each.entry_id, each.task or "?", *map(_short, (each.args, each.kwargs)))
        for each in tasks
    )
    cut = (Words(name, is_cut=True) for name in ("Task", "Arguments", "Keywords"))
    return table("", (Words("Task id", is_whole=True), *cut), rows)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@click.command(cls=RanchCommand)
@click.option(
    "--limit", metavar="N", type=click.IntRange(1), default=1_000, help="How many faults at most."
)
@queue_option
@json_option
@click.pass_context
def check(ctx: click.Context, limit: int, queue: str | None) -> None:
    """Check that every entry is in one place, and every count right.

    The store may be in use meanwhile. Without --queue all queues are checked.
    The exit code is 1 if something is wrong.
    """
    session: Session = ctx.obj
    queue = queue and session.queue(queue)
    with session.working("checking the store"):
        wrong = session.ranch.check(queue, limit)
    for each in wrong:
        if session.is_json:
            session.emit(each)
        else:
            click.echo(visible(str(each)))
    if wrong:
        ctx.exit(1)
    if not session.is_json and not session.quiet:
        click.echo("nothing is wrong")
