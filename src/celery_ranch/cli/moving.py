"""Moving tasks that wait to another key or another queue."""

from __future__ import annotations

from typing import Any

import click

from celery_ranch.cli.completing import complete_key, complete_queue
from celery_ranch.cli.notation import read_key, visible, written_key
from celery_ranch.cli.session import RanchCommand, Session, json_option, queue_option

__all__ = ["move"]


@click.command(cls=RanchCommand)
@click.argument("task_ids", metavar="[TASK_ID]...", nargs=-1)
@click.option(
    "--key", metavar="KEY", shell_complete=complete_key, help="All that waits at a key, and below."
)
@click.option(
    "--to-key", metavar="KEY", shell_complete=complete_key, help="Whose they are from now on."
)
@click.option(
    "--to-queue", metavar="NAME", shell_complete=complete_queue, help="Where they wait from now on."
)
@queue_option
@json_option
@click.pass_obj
def move(
    session: Session,
    task_ids: tuple[str, ...],
    key: str | None,
    to_key: str | None,
    to_queue: str | None,
    queue: str | None,
) -> None:
    """Let tasks that wait wait under another key, in another queue, or both.

    Within its queue a task keeps its place in line; in another one it waits
    behind what waits there. A task is looked for in all queues unless --queue
    names one. What was begun of a key is finished by workers if this command
    is ended midway.
    """
    if bool(task_ids) == (key is not None):
        raise click.UsageError("give either task ids or --key")
    if to_key is None and to_queue is None:
        raise click.UsageError("say where to, with --to-key, --to-queue or both")
    target = None if to_key is None else read_key(to_key)
    there: dict[str, Any] = {"to_key": target, "to_queue": to_queue}
    names = [written_key(target)] if target else []
    shown = " in ".join([*names, *([visible(to_queue)] if to_queue else [])])
    if key is not None:
        path, name = read_key(key), session.queue(queue)
        with session.working("moving") as report:
            moved = session.ranch.move(key=path, queue=name, on_progress=report, **there)
        told = f"{written_key(path)}: {moved:,} moved to {shown}"
        session.say(told, queue=name, key=path, moved=int(moved), **there)
        return
    queue, failed = queue and session.queue(queue), 0
    for task_id in task_ids:
        if session.ranch.move(task_id, queue, **there):
            told = f"{visible(task_id)}: moved to {shown}"
            session.say(told, task_id=task_id, is_moved=True, **there)
        else:
            failed += 1
            session.note(f"Error: {visible(task_id)} does not wait")
    if failed:
        click.get_current_context().exit(1)
