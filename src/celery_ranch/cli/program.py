"""`celery-ranch`: the demo, and the same commands where only a store is at hand."""

from __future__ import annotations

from importlib import metadata

import click

from celery_ranch.cli.bare_store import stand_in
from celery_ranch.cli.commands import COMMANDS
from celery_ranch.cli.session import RanchGroup, Session

__all__ = ["main"]


@click.group(cls=RanchGroup)
@click.option(
    "--store",
    metavar="URL",
    envvar="CELERY_RANCH_STORE",
    help="Where the entries are: redis://, rediss://, sentinel://, unix:// or embedded://."
    " CELERY_RANCH_STORE says it too, and keeps a password out of the list of processes.",
)
@click.option(
    "--prefix",
    envvar="CELERY_RANCH_PREFIX",
    help="What the names of its keys begin with: a global_keyprefix, and then the setting"
    " redis_prefix.  [default: celery_ranch:]",
)
@click.option("--sentinel-master", metavar="NAME", help="The master that sentinels know by it.")
@click.option(
    "--result-backend",
    metavar="URL",
    envvar="CELERY_RESULT_BACKEND",
    help="Where who waits for a dropped task is told.",
)
@click.option(
    "-b",
    "--broker",
    metavar="URL",
    envvar="CELERY_BROKER_URL",
    help="Where errbacks of a dropped task's chord are sent.",
)
@click.option("-C", "--no-color", is_flag=True, help="Colour nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Do not tell of what went well.")
@click.version_option(metadata.version("celery-ranch"), prog_name="celery-ranch")
@click.pass_context
def main(ctx: click.Context, /, no_color: bool, quiet: bool, **place: str | None) -> None:
    r"""See and steer the fair queues of a store, without their application.

    With an application at hand: celery -A app ranch.

    KEY is a key as it is shown: the parts of a path joined by slashes, and a
    slash within a part as \/. A KEY that begins with a dash goes after --.
    """
    if ctx.invoked_subcommand != demo.name:
        app = stand_in(**place)
        ctx.obj = Session(app, no_color, quiet, has_own_app=True)
        ctx.call_on_close(app.close)


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def demo(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Watch a flood stop delaying everybody else, on a Redis of its own.

    It takes under a minute; --help tells of its options.
    """
    try:
        from celery_ranch.demo.__main__ import main as run_demo
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"the demo needs {error.name}: pip install 'celery-ranch[demo]'"
        ) from error
    ctx.exit(run_demo(list(arguments)))


main.add_command(demo)
for _each in COMMANDS:
    main.add_command(_each)
