"""Why a task waits."""

from __future__ import annotations

import time

import click

from celery_ranch.cli.notation import visible
from celery_ranch.cli.session import RanchCommand, Session, json_option, queue_option
from celery_ranch.scheduling.explanation import EntryState

__all__ = ["explain"]


@click.command(cls=RanchCommand)
@click.argument("task_id")
@click.option(
    "--seconds",
    metavar="SECONDS",
    type=click.FloatRange(0.1, 3_600),
    help="Look twice, so far apart, and tell when it should start.",
)
@queue_option
@json_option
@click.pass_obj
def explain(session: Session, task_id: str, seconds: float | None, queue: str | None) -> None:
    """Tell where a task is, what holds it back, and how many go before it.

    Without --queue all queues are looked in. The exit code is 1 if the store
    knows nothing of the task: it is done, or it was never called with a key.
    """
    told = session.ranch.explain(task_id, queue)
    if seconds is not None:
        with session.working("watching the workers"):
            time.sleep(seconds)
        told = session.ranch.explain(task_id, queue, since=told)
    is_unknown = told.state is EntryState.UNKNOWN
    if session.is_json:
        session.emit(told)
    else:
        click.echo(visible(str(told)), err=is_unknown)
    if is_unknown:
        click.get_current_context().exit(1)
