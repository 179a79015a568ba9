"""The demo's command: ``python -m celery_ranch.demo``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from celery_ranch.demo import apps, chart, report
from celery_ranch.demo.interruption import Interruption
from celery_ranch.demo.run import run
from celery_ranch.demo.worker import WorkerFailedError
from celery_ranch.demo.workload import (
    FLOODER,
    PROCESSES,
    QUIET_TENANTS,
    RUN_SECONDS,
    TRICKLE_SECONDS,
    Submission,
    TaskWait,
    submissions,
)
from celery_ranch.engines.embedded import open_embedded

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the workload plain and fair, show the waits, draw the chart; return the exit code."""
    options = _options(arguments)
    console = Console()
    interruption = Interruption()
    interruption.listen()
    # Celery lets these win over what an application says, and this one is private.
    for name in [name for name in os.environ if name.startswith("CELERY_")]:
        del os.environ[name]
    try:
        plain, fair = _both(submissions(options.tasks), console, interruption)
    except WorkerFailedError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; the worker and Redis are stopped")
        return INTERRUPTED
    chart.draw(plain, fair, options.out)
    console.print(report.table(plain, fair))
    console.print(report.conclusion(plain, fair), highlight=False)
    console.print(f"The chart is in {options.out}", highlight=False)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m celery_ranch.demo",
        description="One tenant floods a worker: how long does everybody wait, plain and fair?",
    )
    parser.add_argument("--tasks", type=_flood_size, default=400, help="size of the flood (400)")
    parser.add_argument(
        "--out", type=Path, default=Path("demo.svg"), help="where the chart goes (demo.svg)"
    )
    return parser.parse_args(arguments)


def _flood_size(text: str) -> int:
    """Return the size of the flood; it must last until each quiet tenant has sent a task."""
    size = int(text)
    if not 50 <= size <= 5_000:
        raise argparse.ArgumentTypeError("50 to 5000")
    return size


def _both(
    planned: tuple[Submission, ...], console: Console, interruption: Interruption
) -> tuple[tuple[TaskWait, ...], tuple[TaskWait, ...]]:
    """Return the waits of the plain run and of the fair run."""
    flood_tasks = sum(1 for one in planned if one.tenant == FLOODER)
    console.print(
        f"{FLOODER} sends {flood_tasks} tasks at once; "
        f"{', '.join(QUIET_TENANTS)} one each every {TRICKLE_SECONDS:g} s. "
        f"A task runs {RUN_SECONDS * 1000:.0f} ms, the worker has {PROCESSES} processes.",
        highlight=False,
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[waited]}"),
    )
    with (
        tempfile.TemporaryDirectory(prefix="celery-ranch-demo-") as folder,
        open_embedded(folder) as server,
        Progress(*columns, console=console) as progress,
    ):
        plain_rows = _rows(progress, "plain Celery", planned)
        fair_rows = _rows(progress, "celery-ranch", planned)
        check = interruption.check
        plain = run(apps.plain, apps.submit_plainly, planned, server, plain_rows, check)
        fair = run(apps.fair, apps.submit_fairly, planned, server, fair_rows, check)
    return plain, fair


def _rows(
    progress: Progress, side: str, planned: tuple[Submission, ...]
) -> Callable[[TaskWait], None]:
    """Add a bar for the flood and one for the trickle; return what moves them."""
    flood = sum(1 for one in planned if one.tenant == FLOODER)
    bars = {
        True: progress.add_task(f"{side:<13}{FLOODER}", total=flood, waited=""),
        False: progress.add_task(f"{'':<13}others", total=len(planned) - flood, waited=""),
    }

    def on_start(wait: TaskWait) -> None:
        waited = f"last one waited {wait.seconds:6.3f} s"
        progress.update(bars[wait.tenant == FLOODER], advance=1, waited=waited)

    return on_start


if __name__ == "__main__":
    sys.exit(main())
