"""What Prometheus reads, served until somebody ends it."""

from __future__ import annotations

import signal
import threading

import click

from celery_ranch.cli.session import RanchCommand, Session

__all__ = ["metrics"]


@click.command(cls=RanchCommand)
@click.option(
    "--address",
    metavar="ADDRESS",
    help="The address to listen on.  [default: the setting metrics_address, 127.0.0.1]",
)
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65_535),
    help="The TCP port; 0 for any that is free.  [default: the setting metrics_port, 5557]",
)
@click.pass_obj
def metrics(session: Session, address: str | None, port: int | None) -> None:
    """Serve what goes on to Prometheus.

    It ends with Ctrl-C. Whoever can reach the address can read it, keys included.
    """
    try:
        from celery_ranch.observing.metrics.exporter import Exporter
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"metrics need {error.name}: pip install 'celery-ranch[metrics]'"
        ) from error
    settings = session.ranch.settings
    host = settings.metrics_address if address is None else address
    ended = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: ended.set())
    server = Exporter(session.ranch).serve(host, settings.metrics_port if port is None else port)
    try:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{server.server_port}/metrics"
        session.say(f"{url}  (Ctrl-C ends it)", url=url)
        ended.wait()
    finally:
        server.shutdown()
        server.server_close()
