"""Dropping tasks that wait."""

from __future__ import annotations

import click

from celery_ranch.cli.completing import complete_key
from celery_ranch.cli.notation import read_key, visible, written_key
from celery_ranch.cli.session import RanchCommand, Session, json_option, queue_option, yes_option
from celery_ranch.cli.steering import read_tag

__all__ = ["cancel"]


@click.command(cls=RanchCommand)
@click.argument("task_ids", metavar="[TASK_ID]...", nargs=-1)
@click.option(
    "--key", metavar="KEY", shell_complete=complete_key, help="All that waits at a key, and below."
)
@click.option("--tag", metavar="NAME=VALUE", help="All that waits at keys with this tag.")
@click.option("--all", "is_all", is_flag=True, help="All that waits in the queue.")
@yes_option
@queue_option
@json_option
@click.pass_obj
def cancel(
    session: Session,
    task_ids: tuple[str, ...],
    key: str | None,
    tag: str | None,
    is_all: bool,
    yes: bool,
    queue: str | None,
) -> None:
    """Drop tasks that wait; their state becomes REVOKED.

    What runs already runs on, and what is sent later is not dropped. A task is
    looked for in all queues unless --queue names one. What was begun of a key or
    a tag is finished by workers if this command is ended midway.
    """
    if sum([bool(task_ids), key is not None, tag is not None, is_all]) != 1:
        raise click.UsageError("give task ids, or one of --key, --tag and --all")
    session.check_results()
    if task_ids:
        _cancel_tasks(session, task_ids, queue, yes)
    elif key is not None:
        _cancel_key(session, key, queue, yes)
    elif tag is not None:
        _cancel_tag(session, tag, queue, yes)
    else:
        _cancel_all(session, queue, yes)


def _cancel_tasks(
    session: Session, task_ids: tuple[str, ...], queue: str | None, yes: bool
) -> None:
    number = len(task_ids)
    session.confirm(f"Drop {number} task{'' if number == 1 else 's'}?", yes)
    queue = queue and session.queue(queue)
    failed = 0
    for task_id in task_ids:
        if session.ranch.cancel(task_id, queue):
            session.say(f"{visible(task_id)}: cancelled", task_id=task_id, is_cancelled=True)
        else:
            failed += 1
            session.note(f"Error: {visible(task_id)} does not wait")
    if failed:
        click.get_current_context().exit(1)


def _cancel_key(session: Session, key: str, queue: str | None, yes: bool) -> None:
    path, name = read_key(key), session.queue(queue)
    shown = written_key(path)
    session.confirm(f"Drop all that waits at {shown} and below it, in {visible(name)}?", yes)
    with session.working("cancelling") as report:
        dropped = session.ranch.cancel(key=path, queue=name, on_progress=report)
    session.say(f"{shown}: {dropped:,} cancelled", queue=name, key=path, cancelled=int(dropped))


def _cancel_tag(session: Session, tag: str, queue: str | None, yes: bool) -> None:
    pair, name = read_tag(tag), session.queue(queue)
    keys = session.ranch.tagged(*pair, name)
    number = f"{len(keys):,} key{'' if len(keys) == 1 else 's'}"
    session.confirm(f"Drop all that waits at {number} in {visible(name)}?", yes)
    with session.working("cancelling") as report:
        dropped = session.ranch.cancel(tag=pair, queue=name, on_progress=report)
    told = f"{visible(tag)}, {number}: {dropped:,} cancelled"
    session.say(told, queue=name, tag=pair, cancelled=int(dropped))


def _cancel_all(session: Session, queue: str | None, yes: bool) -> None:
    name = session.queue(queue)
    counts = session.engine.snapshot(name)
    waiting = counts.waiting + counts.delayed
    session.confirm(f"Drop all {waiting:,} tasks that wait in {visible(name)}?", yes)
    with session.working("cancelling") as report:
        dropped = session.ranch.purge(name, on_progress=report)
    session.say(f"{visible(name)}: {dropped:,} cancelled", queue=name, cancelled=dropped)
