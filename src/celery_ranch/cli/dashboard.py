"""The web page, served until somebody ends it."""

from __future__ import annotations

import click

from celery_ranch.cli.session import RanchCommand, Session

__all__ = ["dashboard"]


@click.command(cls=RanchCommand)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; with a token it may be one that others can reach.",
)
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65_535),
    default=5556,
    show_default=True,
    help="The TCP port; 0 for any that is free.",
)
@click.option(
    "--token",
    metavar="TOKEN",
    envvar="CELERY_RANCH_DASHBOARD_TOKEN",
    help="What who looks has to know, at least 16 characters. CELERY_RANCH_DASHBOARD_TOKEN says"
    " it too, and keeps it out of the list of processes.",
)
@click.option("--read-only", is_flag=True, help="Show only: no controls.")
@click.pass_obj
def dashboard(session: Session, host: str, port: int, token: str | None, read_only: bool) -> None:
    """Serve a page in the browser that shows what goes on, live, and steers.

    It ends with Ctrl-C. Without a token it is to be had on this machine alone.
    """
    try:
        from celery_ranch.observing.dashboard.security import Rights
        from celery_ranch.observing.dashboard.server import listen, make_server
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"the dashboard needs {error.name}: pip install 'celery-ranch[dashboard]'"
        ) from error
    rights = Rights(host, token or None, read_only)
    if not read_only:
        session.check_results()
    server = make_server(session.ranch, rights)
    with listen(host, port) as socket:
        bound = socket.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        session.say(f"http://{shown}:{bound}/  (Ctrl-C ends it)", url=f"http://{shown}:{bound}/")
        try:
            server.run([socket])
        except KeyboardInterrupt:
            return
