"""One key as it is shown: how it stands, what it received, how full its limits are."""

from __future__ import annotations

from collections.abc import Iterator

from celery_ranch.observing.flows import flow_of
from celery_ranch.observing.parts import Parts
from celery_ranch.observing.status import Flow, KeyLevelStatus, KeyStatus, LimitStatus
from celery_ranch.scheduling.figures import NodeFigures
from celery_ranch.scheduling.model import CHARGE_UNIT
from celery_ranch.scheduling.nodes import Block

__all__ = ["key_status"]


def key_status(
    node: NodeFigures, parts: Parts, now_us: int, enqueued_per_second: float | None
) -> KeyStatus:
    """Return how a key stands, of those that were measured together with it."""
    window, flow = parts.window, Flow()
    if window.is_told_of(node.key):
        flow = flow_of(window.of_key(node.key), window.seconds, enqueued_per_second)
    return KeyStatus(
        key=node.key,
        waiting=sum(stand.waiting for stand in node.stands),
        delayed=node.delayed,
        leased=node.in_service,
        oldest_wait=_ago(node.waiting_since_us, now_us),
        share=node.share,
        entitled=parts.entitled(node.key),
        received=parts.received(node.key),
        levels=tuple(
            KeyLevelStatus(
                level=stand.level,
                waiting=stand.waiting,
                # A charge is a cost over the share.
                lead=stand.lead * node.share / CHARGE_UNIT,
                is_racing=stand.is_racing,
            )
            for stand in node.stands
        ),
        limits=tuple(_limits(node, now_us)),
        is_paused=bool(node.blocks & Block.PAUSED),
        children=node.children,
        last_leased=_ago(node.last_leased_at_us, now_us),
        flow=flow,
    )


def _limits(node: NodeFigures, now_us: int) -> Iterator[LimitStatus]:
    limits = node.limits
    if limits.concurrency:
        is_full = bool(node.blocks & Block.CONCURRENCY)
        yield LimitStatus("concurrency", limits.concurrency, node.in_service, is_full)
    if limits.rate is not None and limits.rate.interval_us:
        interval_us, burst = limits.rate.interval_us, limits.rate.burst
        used = min(max(0.0, (node.arrival_us - now_us) / interval_us), burst)
        is_held_back = bool(node.blocks & Block.RATE)
        yield LimitStatus("rate", burst, used, is_held_back, 1_000_000 / interval_us)
    if limits.backlog:
        backlog = sum(stand.waiting for stand in node.stands) + node.delayed
        yield LimitStatus("backlog", limits.backlog, backlog, backlog >= limits.backlog)


def _ago(at_us: int | None, now_us: int) -> float | None:
    return None if at_us is None else max(0.0, (now_us - at_us) / 1e6)
