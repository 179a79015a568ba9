"""What the shell completes: names of queues, and keys, as far as the store has them at hand.

A shell runs nothing of a program but this: Celery's own options are read, and no more.
What goes wrong is not told, because the shell shows no errors there.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import threading
from collections.abc import Callable, Iterator

import click
from celery.app import app_or_default
from celery.app.utils import find_app
from click.shell_completion import CompletionItem

from celery_ranch.cli.bare_store import stand_in
from celery_ranch.cli.notation import written_key
from celery_ranch.ranch import Ranch

__all__ = ["complete_key", "complete_queue"]

_SECONDS = 2.0
_MOST_SHOWN = 100
_MOST_LOOKED_AT = 10_000

#: What a shell takes as it stands, and click as no option: bash splits what is completed at spaces.
_SAFE = re.compile(r"[\w@%+=./][\w@%+=./-]*")


def complete_queue(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the queues of the store that begin so."""
    return _in_time(lambda ranch: iter(sorted(ranch.engine.queues())), ctx, incomplete)


def complete_key(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return keys that begin so, of the first ten thousand that the store has at hand."""
    queue = ctx.params.get("queue")

    def keys(ranch: Ranch) -> Iterator[str]:
        name = ranch.default_queue if queue is None else ranch.fair_queue(queue)
        looked_at = cursor = 0
        while looked_at < _MOST_LOOKED_AT:
            cursor, page = ranch.engine.keys(name, cursor)
            looked_at += max(1, len(page))
            yield from (written_key(each.key) for each in page)
            if not cursor:
                return

    return _in_time(keys, ctx, incomplete)


def _in_time(
    look: Callable[[Ranch], Iterator[str]], ctx: click.Context, incomplete: str
) -> list[CompletionItem]:
    """Return what begins as was typed; nothing where it takes long or goes wrong."""
    found: set[str] = set()

    def search() -> None:
        # Whatever the application's modules do or print, the shell reads stdout.
        with contextlib.suppress(Exception):
            for text in look(ranch):
                if text.startswith(incomplete) and _SAFE.fullmatch(text):
                    found.add(text)
                    if len(found) >= _MOST_SHOWN:
                        break
            ranch.engine.close()

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            ranch = _ranch(ctx)
            thread = threading.Thread(target=search, daemon=True)
            thread.start()
            thread.join(_SECONDS)
    except Exception:
        return []
    return [CompletionItem(text) for text in sorted(found)[:_MOST_SHOWN]]


def _ranch(ctx: click.Context) -> Ranch:
    root = ctx.find_root()
    if "store" in root.params:
        return Ranch(stand_in(**root.params))
    for option, variable in (("broker", "BROKER_URL"), ("config", "CONFIG_MODULE")):
        if root.params.get(option):
            os.environ[f"CELERY_{variable}"] = root.params[option]
    app = root.params.get("app")
    return Ranch(find_app(app) if isinstance(app, str) else app_or_default(app))
