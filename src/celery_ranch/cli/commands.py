"""`celery -A app ranch`: the commands within Celery's own."""

from __future__ import annotations

from typing import Any

import click
from celery.bin.base import handle_preload_options

from celery_ranch.cli.dashboard import dashboard
from celery_ranch.cli.dead import dead
from celery_ranch.cli.dropping import cancel
from celery_ranch.cli.explaining import explain
from celery_ranch.cli.looking import check, key, keys
from celery_ranch.cli.metrics import metrics
from celery_ranch.cli.moving import move
from celery_ranch.cli.session import RanchGroup, Session
from celery_ranch.cli.steering import limit, pause, resume, share
from celery_ranch.cli.watching import status, top

__all__ = ["COMMANDS", "ranch"]

#: In the order in which they are listed.
COMMANDS = (
    status,
    top,
    dashboard,
    metrics,
    keys,
    key,
    explain,
    share,
    limit,
    pause,
    resume,
    cancel,
    move,
    dead,
    check,
)


@click.group(cls=RanchGroup, commands={each.name: each for each in COMMANDS})
@click.pass_context
@handle_preload_options
def ranch(ctx: click.Context, **options: Any) -> None:
    r"""See and steer fair scheduling: who waits, who is served, and how much.

    KEY is a key as it is shown: the parts of a path joined by slashes, and a
    slash within a part as \/. A KEY that begins with a dash goes after --.
    """
    given = ctx.obj
    ctx.obj = Session(given.app, given.no_color, given.quiet)
