"""Running celery-ranch's commands in this process, as the `celery` command runs them."""

from __future__ import annotations

import inspect
import json
from typing import Any

from celery import Celery
from celery.bin.base import CLIContext
from click.testing import CliRunner, Result

from celery_ranch.cli.commands import ranch

#: click 8.1 mixes the two outputs unless it is told otherwise.
_APART = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


class Terminal:
    """Somebody who types `celery -A app ranch` and a command."""

    def __init__(self, app: Celery, *, is_quiet: bool = False) -> None:
        self._context = CLIContext(app, no_color=True, workdir=None, quiet=is_quiet)

    def type(self, *arguments: str, answer: str = "") -> Result:
        """Run a command, whatever comes of it."""
        return CliRunner(**_APART).invoke(ranch, arguments, input=answer, obj=self._context)

    def run(self, *arguments: str, answer: str = "") -> str:
        """Run a command that has to succeed, and return what it printed."""
        result = self.type(*arguments, answer=answer)
        assert result.exit_code == 0, f"{result.stderr}\n{result.exception!r}"
        return result.stdout

    def read(self, *arguments: str) -> list[Any]:
        """Run a command with --json, and return what its lines say."""
        options = arguments.index("--") if "--" in arguments else len(arguments)
        written = self.run(*arguments[:options], "--json", *arguments[options:])
        return [json.loads(line) for line in written.splitlines()]

    def fail(self, *arguments: str, code: int = 1, answer: str = "") -> str:
        """Run a command that has to fail, and return its last line on stderr."""
        result = self.type(*arguments, answer=answer)
        assert result.exit_code == code, f"{result.stdout}\n{result.exception!r}"
        assert isinstance(result.exception, SystemExit)
        lines = result.stderr.splitlines()
        assert code == 2 or len(lines) == 1, result.stderr
        return lines[-1]
