"""Writes what the commands say of themselves into their page: `python docs/commands.py`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from celery_ranch.cli.commands import COMMANDS
from celery_ranch.cli.program import demo, main

PAGE = Path(__file__).parent / "reference" / "commands.md"

#: From here on the page is written by this module.
BEGIN = "## What each one does\n"


def written() -> str:
    """Return the part of the page that the commands make."""
    parts = [BEGIN]
    for command in COMMANDS:
        parts += _command(command, "ranch")
    parts += _command(demo, "celery-ranch")
    parts += _command(main, "", "###")
    return "\n".join(parts)


def _command(command: click.Command, before: str, heading: str = "###") -> Iterator[str]:
    """Yield what a command says of itself, and then its subcommands."""
    name = f"{before} {command.name if before else 'celery-ranch'}".strip()
    context = click.Context(command, info_name=name)
    yield f"{heading} {name}\n"
    if not isinstance(command, click.Group):
        pieces = " ".join(command.collect_usage_pieces(context))
        prefix = "celery -A app " if before.startswith("ranch") else ""
        yield f"```text\n{prefix}{name} {pieces}\n```\n"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield paragraph.replace("\b\n", "").replace("\\/", "`\\/`") + "\n"
    yield from _options(command, context)
    if isinstance(command, click.Group) and command is not main:
        for each in command.commands.values():
            yield from _command(each, name, heading + "#")


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    options = [each for each in command.params if isinstance(each, click.Option)]
    records = [each.get_help_record(context) for each in options]
    shown = [record for record in records if record is not None]
    if shown:
        rows = "".join(f"| `{_cell(names)}` | {_cell(told)} |\n" for names, told in shown)
        yield f"| option | meaning |\n|---|---|\n{rows}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("  [", " [")


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8").partition(BEGIN)[0]
    PAGE.write_text(text + written(), encoding="utf-8")
