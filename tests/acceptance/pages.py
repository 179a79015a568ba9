"""A page of documentation, followed by somebody in an empty folder."""

import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import eventually

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_PRINTED = re.compile(r"^\[.*?WARNING/ForkPoolWorker-\d+\] (.*)$", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of code on a page."""

    heading: str
    """The last heading before it."""
    paragraph: str
    """The last paragraph before it."""
    language: str
    code: str


def blocks(text: str) -> tuple[Block, ...]:
    """Return the fenced blocks of a page, in their order, without their indentation."""
    found = []
    end = 0
    heading = ""
    for match in _BLOCK.finditer(text):
        between = text[end : match.start()]
        heading = [heading, *_HEADING.findall(between)][-1]
        paragraph = between.strip().rpartition("\n\n")[2]
        found.append(Block(heading, paragraph, match[2], textwrap.dedent(match[3])))
        end = match.end()
    return tuple(found)


def lines(page: Iterable[Block], heading: str, language: str = "bash") -> list[str]:
    """Return the lines of the blocks of a language under a heading of a page."""
    found = [b.code for b in page if (b.heading, b.language) == (heading, language)]
    return "".join(found).splitlines()


def exported(*commands: str) -> dict[str, str]:
    """Return what lines `export NAME=value` set."""
    return dict(command.removeprefix("export ").split("=", 1) for command in commands)


def await_printed(log: Path, count: int) -> list[str]:
    """Return what tasks have printed when so many have succeeded, by a worker's log."""
    eventually(lambda: log.read_text().count(" succeeded in ") >= count, 30, f"{count} succeeded")
    return printed(log)


def printed(log: Path) -> list[str]:
    """Return what tasks have printed, by a worker's log, without what Celery writes before it."""
    return _PRINTED.findall(log.read_text(errors="replace"))


class Reader:
    """Somebody who writes what a page says into files, and runs its commands.

    Args:
        folder: The folder to work in.
        environment: What is set besides this process's own environment.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": programs, **environment}

    def write(self, name: str, *parts: str) -> None:
        """Write a file from its parts."""
        (self.folder / name).write_text("\n".join(parts))

    def run(self, command: str, seconds: float = 50, code: int = 0) -> str:
        """Run a command as it is written and return what it printed.

        Both outputs are returned, and that has to be its exit code.
        """
        done = subprocess.run(
            shlex.split(command, comments=True),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def run_python(self, *parts: str) -> str:
        """Run a script made of parts and return what it printed."""
        name = f"script_{uuid.uuid4().hex[:8]}.py"
        self.write(name, *parts)
        return self.run(f"python {name}")

    @contextmanager
    def running(self, command: str, ready: str = "ready.", code: int = 0) -> Iterator[Path]:
        """Run a command until the block is left, from when its log says that it is ready.

        Yields the log's path. The command is asked to stop, and has to, with that exit code.
        """
        log = self.folder / f"{uuid.uuid4().hex[:8]}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                shlex.split(command),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        def is_ready():
            told = log.read_text(errors="replace")
            assert process.poll() is None, f"{command}: {process.returncode}\n{told}"
            return ready in told

        try:
            eventually(is_ready, 40, f"{command} says {ready!r}")
            yield log
            process.send_signal(signal.SIGTERM)
            # As tests.workers.WorkerProcess.stop says, a pool may wait for 30 seconds.
            ended = process.wait(50)
            assert ended == code, f"{command}: {ended}"
        except BaseException:
            print(log.read_text(errors="replace"))  # noqa: T201
            raise
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
