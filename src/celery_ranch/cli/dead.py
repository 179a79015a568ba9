"""Dead letters: tasks taken out of circulation, to be looked at, retried or deleted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from celery_ranch.cli.completing import complete_key
from celery_ranch.cli.notation import read_key, visible, written_key
from celery_ranch.cli.session import (
    RanchCommand,
    RanchGroup,
    Session,
    json_option,
    queue_option,
    yes_option,
)
from celery_ranch.cli.showing import WIDE, Words, ago, moment, table
from celery_ranch.errors import UnknownEntryError
from celery_ranch.scheduling.model import DeadLetter

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["dead"]

_PAGE = 1_000


@click.group(cls=RanchGroup)
def dead() -> None:
    """Dead letters: tasks that no worker is given any more."""


@dead.command("list", cls=RanchCommand)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="How many to show.",
)
@queue_option
@json_option
@click.pass_obj
def list_(session: Session, limit: int, queue: str | None) -> None:
    """List dead letters, the latest first."""
    name = session.queue(queue)
    found = _letters(session, name, limit)
    if session.is_json:
        for each in found:
            session.emit(_facts(session, each))
        return
    session.console.print(_table(session, found))
    rest = session.engine.snapshot(name).dead - limit
    if rest > 0:
        session.note(f"and {rest:,} more; --limit shows more of them")


@dead.command(cls=RanchCommand)
@click.argument("entry_id")
@queue_option
@json_option
@click.pass_obj
def show(session: Session, entry_id: str, queue: str | None) -> None:
    """Show a dead letter with its arguments."""
    name = session.queue(queue)
    for letter in _letters(session, name, None):
        if letter.entry_id == entry_id:
            break
    else:
        raise UnknownEntryError(entry_id)
    facts = _facts(session, letter)
    task = session.ranch.task_of(letter)
    facts.update(args=task.args, kwargs=task.kwargs)
    if session.is_json:
        session.emit(facts)
        return
    facts.update(key=written_key(letter.key), died=moment(facts.pop("died_at_us")))
    for each, value in facts.items():
        text = value if isinstance(value, str) else repr(value)
        click.echo(visible(f"{each.replace('_', ' ') + ':':<12}{text}"))


def _which_options(function: Any) -> Any:
    key = click.option(
        "--key",
        metavar="KEY",
        shell_complete=complete_key,
        help="Those of a key, and of keys below it.",
    )
    every = click.option("--all", "is_all", is_flag=True, help="All of the queue's.")
    return click.argument("entry_ids", metavar="[ENTRY]...", nargs=-1)(key(every(function)))


@dead.command(cls=RanchCommand)
@_which_options
@queue_option
@json_option
@click.pass_obj
def retry(
    session: Session, entry_ids: tuple[str, ...], key: str | None, is_all: bool, queue: str | None
) -> None:
    """Put dead letters back as if just stored."""
    _check_one_is_given(entry_ids, key, is_all)
    name = session.queue(queue)
    if entry_ids:
        _for_each(session, entry_ids, name, "retried")
        return
    path = None if key is None else read_key(key)
    with session.working("retrying"):
        number = session.ranch.retry_all_dead(path, name)
    session.say(f"{number:,} retried", queue=name, key=path, retried=number)


@dead.command(cls=RanchCommand)
@_which_options
@yes_option
@queue_option
@json_option
@click.pass_obj
def delete(
    session: Session,
    entry_ids: tuple[str, ...],
    key: str | None,
    is_all: bool,
    yes: bool,
    queue: str | None,
) -> None:
    """Drop dead letters for good."""
    _check_one_is_given(entry_ids, key, is_all)
    name = session.queue(queue)
    if entry_ids:
        number = len(entry_ids)
        session.confirm(f"Drop {number} dead letter{'' if number == 1 else 's'} for good?", yes)
        _for_each(session, entry_ids, name, "deleted")
        return
    path = None if key is None else read_key(key)
    if path is None:
        whose = f"all dead letters of {visible(name)} ({session.engine.snapshot(name).dead:,})"
    else:
        whose = f"the dead letters of {written_key(path)} and below it, in {visible(name)},"
    session.confirm(f"Drop {whose} for good?", yes)
    with session.working("deleting"):
        number = session.ranch.delete_all_dead(path, name)
    session.say(f"{number:,} deleted", queue=name, key=path, deleted=number)


def _check_one_is_given(entry_ids: tuple[str, ...], key: str | None, is_all: bool) -> None:
    if sum([bool(entry_ids), key is not None, is_all]) != 1:
        raise click.UsageError("give the ids of dead letters, or one of --key and --all")


def _letters(session: Session, queue: str, limit: int | None) -> Iterator[DeadLetter]:
    """Yield dead letters, page by page, the latest first."""
    offset = 0
    while limit is None or offset < limit:
        size = _PAGE if limit is None else min(_PAGE, limit - offset)
        page = session.ranch.dead_letters(queue, offset, size)
        yield from page
        if len(page) < size:
            return
        offset += size


def _table(session: Session, found: Iterable[DeadLetter]) -> Table:
    now, is_wide = time.time(), session.console.width >= WIDE
    columns: list[str | Words] = [Words("Entry", is_whole=True), Words("Key"), "Died"]
    columns += [Words("Reason", is_cut=True), *([Words("Task")] if is_wide else [])]
    rows = (
        (
            each.entry_id,
            written_key(each.key),
            ago(now - each.died_at_us / 1_000_000),
            each.reason,
            *([session.ranch.task_of(each).task or "?"] if is_wide else []),
        )
        for each in found
    )
    return table("", columns, rows)


def _facts(session: Session, letter: DeadLetter) -> dict[str, Any]:
    task = session.ranch.task_of(letter)
    return {
        "entry_id": letter.entry_id,
        "task_id": task.task_id,
        "task": task.task,
        "queue": letter.queue,
        "key": letter.key,
        "died_at_us": letter.died_at_us,
        "deliveries": letter.deliveries,
        "reason": letter.reason,
    }


def _for_each(session: Session, entry_ids: tuple[str, ...], name: str, done: str) -> None:
    """Retry or delete; go on where one is unknown, and fail at the end."""
    failed = 0
    verb = session.ranch.retry_dead if done == "retried" else session.ranch.delete_dead
    for entry_id in entry_ids:
        try:
            verb(entry_id, name)
        except UnknownEntryError as error:
            failed += 1
            session.note(f"Error: {visible(str(error))}")
            continue
        session.say(f"{visible(entry_id)}: {done}", queue=name, entry_id=entry_id, done=done)
    if failed:
        click.get_current_context().exit(1)
