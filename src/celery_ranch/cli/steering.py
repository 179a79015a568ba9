"""Shares, limits and pauses: commands that hold at once, for what waits already too."""

from __future__ import annotations

import math
from typing import Any

import click

from celery_ranch.cli.completing import complete_key
from celery_ranch.cli.notation import read_key, visible, written_key
from celery_ranch.cli.session import RanchCommand, Session, json_option, queue_option
from celery_ranch.scheduling.policies import tag_parts

__all__ = ["limit", "pause", "read_tag", "resume", "share"]

_NONE = "none"


def _count(ctx: click.Context, param: click.Parameter, told: str | None) -> float | None:
    """Return how many, or infinity for no limit whatever a tag or a default says."""
    try:
        return math.inf if told == "inf" else None if told is None else int(told)
    except ValueError:
        raise click.BadParameter(f"{told!r} is neither a whole number nor inf") from None


def _target_options(function: Any) -> Any:
    tag = click.option(
        "--tag", metavar="NAME=VALUE", help="Instead of a KEY: each key with this tag."
    )
    depth = click.option(
        "--depth",
        metavar="PARTS",
        type=int,
        help="Instead of a KEY: by default, each key of so many parts.",
    )
    return tag(depth(function))


def read_tag(text: str) -> tuple[str, str]:
    """Return the name and the value of a tag that somebody wrote.

    Raises:
        click.UsageError: It is not written as a tag is.
    """
    name, value = tag_parts(text)
    if not name or not value:
        raise click.UsageError(f"a tag is NAME=VALUE, not {text!r}")
    return name, value


def _target(key: str | None, tag: str | None, depth: int | None) -> tuple[dict[str, Any], str]:
    """Return who is meant, as control verbs take it, and as people read it."""
    if sum(each is not None for each in (key, tag, depth)) != 1:
        raise click.UsageError("give exactly one of KEY, --tag and --depth")
    if tag is not None:
        return {"tag": read_tag(tag)}, f"keys with the tag {visible(tag)}"
    if depth is not None:
        return {"depth": depth}, f"keys of {depth} part{'' if depth == 1 else 's'}, by default"
    path = read_key(key or "")
    return {"key": path}, written_key(path)


@click.command(cls=RanchCommand)
@click.argument(
    "words", metavar="[KEY] SHARE", nargs=-1, required=True, shell_complete=complete_key
)
@_target_options
@queue_option
@json_option
@click.pass_obj
def share(
    session: Session, words: tuple[str, ...], tag: str | None, depth: int | None, queue: str | None
) -> None:
    """Entitle a key to so much of a queue, relative to its siblings.

    SHARE is from 0.01 to 100, and 1 where nothing is set: who has 2 is served
    twice as often as who has 1. The word none takes back what was set.
    """
    *keys, told = words
    if len(keys) > 1:
        raise click.UsageError(f"one KEY and one SHARE, not {len(words)} words")
    who, shown = _target(keys[0] if keys else None, tag, depth)
    try:
        value = None if told == _NONE else float(told)
    except ValueError:
        raise click.UsageError(f"SHARE is a number or the word none, not {told!r}") from None
    name = session.queue(queue)
    session.ranch.set_share(share=value, queue=name, **who)
    what = "no share of its own" if value is None else f"share {value:g}"
    session.say(f"{shown}: {what}", queue=name, **who, share=value)


@click.command(cls=RanchCommand)
@click.argument("key", required=False, shell_complete=complete_key)
@_target_options
@click.option(
    "--concurrency", metavar="N|inf", callback=_count, help="How many of its tasks may run at once."
)
@click.option("--rate", metavar="RATE|inf", help="How often they may start: 10/s, 100/m, 5000/h.")
@click.option("--burst", metavar="N", type=int, help="How many may start at once after a pause.")
@click.option("--backlog", metavar="N|inf", callback=_count, help="How many may wait.")
@click.option("--none", "is_none", is_flag=True, help="Take back all of them.")
@queue_option
@json_option
@click.pass_obj
def limit(
    session: Session,
    /,
    key: str | None,
    tag: str | None,
    depth: int | None,
    is_none: bool,
    queue: str | None,
    **given: Any,
) -> None:
    """Limit how much of a key runs at once, starts in a time, and waits.

    All limits of the key are set anew: what is left out is not limited here,
    so that a tag or a default decides. "inf" is no limit whatever they say.
    """
    limits = {name: value for name, value in given.items() if value is not None}
    if bool(limits) == is_none:
        raise click.UsageError("give at least one limit, or --none to take all of them back")
    if limits.get("rate") == "inf":
        limits["rate"] = math.inf
    who, shown = _target(key, tag, depth)
    name = session.queue(queue)
    session.ranch.set_limits(queue=name, **who, **limits)
    set_anew = {each: limits.get(each) for each in ("concurrency", "rate", "burst", "backlog")}
    told = ", ".join(f"{each} {value}" for each, value in limits.items()) or "no limits of its own"
    session.say(f"{shown}: {told}", queue=name, **who, **set_anew)


@click.command(cls=RanchCommand)
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, shell_complete=complete_key)
@queue_option
@json_option
@click.pass_obj
def pause(session: Session, keys: tuple[str, ...], queue: str | None) -> None:
    """Let tasks of keys wait until they are resumed; they keep their places.

    What runs already runs on.
    """
    _each(session, keys, queue, is_paused=True)


@click.command(cls=RanchCommand)
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, shell_complete=complete_key)
@queue_option
@json_option
@click.pass_obj
def resume(session: Session, keys: tuple[str, ...], queue: str | None) -> None:
    """Serve paused keys again."""
    _each(session, keys, queue, is_paused=False)


def _each(session: Session, keys: tuple[str, ...], queue: str | None, is_paused: bool) -> None:
    name = session.queue(queue)
    paths = [read_key(key) for key in keys]
    for path in paths:
        verb = session.ranch.pause if is_paused else session.ranch.resume
        verb(path, queue=name)
        told = "paused" if is_paused else "resumed"
        session.say(f"{written_key(path)}: {told}", queue=name, key=path, is_paused=is_paused)
