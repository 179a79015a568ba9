"""Controls of shares, limits and pauses: they hold at once, and can be taken back."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery_ranch.observing.dashboard.plans import Plan, number_of, queue_of, waiting_of
from celery_ranch.observing.dashboard.requests import Said
from celery_ranch.observing.notation import written_key
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.limits import limits_of
from celery_ranch.scheduling.model import valid_share

__all__ = ["plan_limits", "plan_pause", "plan_resume", "plan_share"]

_HOLDS = "It holds at once, for what waits already too."
_HOLDS_LATER = "It holds for a key when something of it is next stored, leased or ended."


def plan_share(ranch: Ranch, said: Said) -> Plan:
    """Say what a share will do."""
    said.only("queue", "key", "tag", "depth", "share")
    queue, target = queue_of(ranch, said), said.target()
    share = said.figure("share")
    if share is not None:
        valid_share(share)
    to = "its own share taken back" if share is None else f"share {share:g}"
    who = _named(target)
    before = _share_before(ranch, queue, target)
    return Plan(
        (
            f"{who}: {to}, in the queue {queue}.{before}",
            "Who has share 2 is served twice as often as who has 1.",
            _when(target),
        ),
        "Set share",
        False,
        partial(ranch.set_share, share=share, queue=queue, **target),
        f"{who} in {queue}: {to}.",
    )


def plan_limits(ranch: Ranch, said: Said) -> Plan:
    """Say what limits will do."""
    names = ("concurrency", "rate", "burst", "backlog")
    said.only("queue", "key", "tag", "depth", *names)
    queue, target = queue_of(ranch, said), said.target()
    given = {name: said.figure(name) for name in names if said.has(name)}
    limits_of(**given)
    told = ", ".join(f"{name} {_figure(value)}" for name, value in given.items())
    who = _named(target)
    return Plan(
        (
            f"{who}: {told or 'no limits of its own'}, in the queue {queue}.",
            "All of its limits are set anew: what is left empty is not limited here, so that"
            " a tag or a default decides.",
            "A key at a limit steps aside; others go on. " + _when(target),
        ),
        "Set limits",
        False,
        partial(ranch.set_limits, queue=queue, **target, **given),
        f"{who} in {queue}: {told or 'no limits of its own'}.",
    )


def plan_pause(ranch: Ranch, said: Said) -> Plan:
    """Say what a pause will do."""
    said.only("queue", "key")
    queue, path = queue_of(ranch, said), said.key()
    who = written_key(path)
    return Plan(
        (
            waiting_of(ranch, queue, path),
            "They wait until the key is resumed, and keep their places. What runs, runs on.",
        ),
        "Pause",
        False,
        partial(ranch.pause, path, queue),
        f"{who} in {queue} is paused.",
    )


def plan_resume(ranch: Ranch, said: Said) -> Plan:
    """Say what the end of a pause will do."""
    said.only("queue", "key")
    queue, path = queue_of(ranch, said), said.key()
    who = written_key(path)
    return Plan(
        (
            waiting_of(ranch, queue, path),
            "They are served again, with no credit for the pause.",
        ),
        "Resume",
        False,
        partial(ranch.resume, path, queue),
        f"{who} in {queue} is served again.",
    )


def _named(target: dict[str, Any]) -> str:
    if "key" in target:
        return written_key(target["key"])
    if "tag" in target:
        return "Each key with the tag {}={}".format(*target["tag"])
    return f"By default, each key of {target['depth']} parts"


def _when(target: dict[str, Any]) -> str:
    return _HOLDS if "key" in target else _HOLDS_LATER


def _share_before(ranch: Ranch, queue: str, target: dict[str, Any]) -> str:
    if "key" in target:
        return f" It is {ranch.key(target['key'], queue).share:g} now."
    if "tag" in target:
        number = len(ranch.tagged(target["tag"][0], target["tag"][1], queue))
        return f" {number_of(number, 'key')} {'has' if number == 1 else 'have'} it now."
    return ""


def _figure(value: Any) -> str:
    return "unlimited" if value == float("inf") else str(value)
