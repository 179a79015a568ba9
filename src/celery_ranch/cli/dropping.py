"""Dropping tasks that wait."""

from __future__ import annotations

import click

from celery_ranch.cli.notation import visible
from celery_ranch.cli.session import RanchCommand, Session, json_option, queue_option, yes_option

__all__ = ["cancel"]


@click.command(cls=RanchCommand)
@click.argument("task_ids", metavar="TASK_ID...", nargs=-1, required=True)
@yes_option
@queue_option
@json_option
@click.pass_obj
def cancel(session: Session, task_ids: tuple[str, ...], yes: bool, queue: str | None) -> None:
    """Drop tasks that wait; their state becomes REVOKED.

    What runs already runs on. Without --queue all queues are looked in.
    """
    session.check_results()
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
