"""What workers counted within a window of time, as rates and spreads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from celery_ranch.observing.status import Flow, Spread
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import KeyPath
from celery_ranch.scheduling.service import (
    BUCKETS,
    Bucket,
    Service,
    Tally,
    quantile_us,
)

__all__ = ["Window", "WindowReader", "flow_of"]

#: Reports come late by a few seconds: until then a bucket may still change.
_SETTLED_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Window:
    """What was counted of one queue from the start of a bucket until now."""

    seconds: float
    levels: Mapping[int, Tally] = field(default_factory=dict)
    """Of all keys together."""
    keys: Mapping[tuple[int, KeyPath], Tally] = field(default_factory=dict)
    """By level and node: all that is below it included. (): keys that are not told apart."""
    has_keys: bool = True
    """Whether keys are told apart in so long a window."""
    stored: int | None = None
    """How many entries had ever been stored at the first report in it."""
    stored_at_us: int | None = None
    """When that was."""

    def is_told_of(self, key: KeyPath) -> bool:
        """Return whether what ended of a node is known: all of it has been told apart."""
        if not self.has_keys:
            return False
        return bool(self.of_key(key)) or not self.of_key(())

    @property
    def busiest(self) -> list[KeyPath]:
        """The keys of which most ended, the busiest first."""
        ended: dict[KeyPath, int] = {}
        for (_, key), tally in self.keys.items():
            if key:
                ended[key] = ended.get(key, 0) + tally.finished
        return sorted(ended, key=lambda key: -ended[key])

    def tally(self, level: int, key: KeyPath) -> Tally:
        """Return what ended at a level of a node and below it; of the root, of all."""
        none = Tally(level)
        return self.keys.get((level, key), none) if key else self.levels.get(level, none)

    def of_key(self, key: KeyPath) -> list[Tally]:
        """Return what ended of a node at each level."""
        return [tally for (_, each), tally in self.keys.items() if each == key]


class WindowReader:
    """Reads one queue's buckets, those that are settled only once.

    Args:
        engine: Where they are.
        queue: Whose they are.
        window_seconds: How far back to read.
    """

    def __init__(self, engine: Engine, queue: str, window_seconds: float) -> None:
        self._engine = engine
        self._queue = queue
        self._seconds = window_seconds
        self._kind = next(kind for kind in BUCKETS if window_seconds <= kind.kept_seconds)
        self._settled: dict[int, Service] = {}

    def read(self, now_us: int) -> Window:
        """Return the window that ends now, by the store's clock."""
        starts = self._kind.starts(now_us, self._seconds)
        found = {start: self._bucket(start) for start in starts}
        settled_by = now_us / 1_000_000 - self._kind.seconds - _SETTLED_SECONDS
        self._settled = {start: found[start] for start in starts if start < settled_by}
        first = next((each for each in found.values() if each.stored is not None), Service())
        tallies = [tally for each in found.values() for tally in each.tallies]
        return Window(
            seconds=max(0.001, now_us / 1_000_000 - starts[0]),
            levels=_by_level(tallies),
            keys=_by_node(tallies),
            has_keys=self._kind.has_keys,
            stored=first.stored,
            stored_at_us=first.at_us,
        )

    def _bucket(self, start: int) -> Service:
        settled = self._settled.get(start)
        if settled is not None:
            return settled
        return self._engine.service(self._queue, Bucket(self._kind.seconds, start))


def flow_of(
    tallies: Iterable[Tally], seconds: float, enqueued_per_second: float | None = None
) -> Flow:
    """Return what all of these came to within so many seconds."""
    total = Tally(0)
    for tally in tallies:
        total.add(tally)
    return Flow(
        enqueued_per_second=enqueued_per_second,
        finished_per_second=total.finished / seconds,
        failed_per_second=total.failed / seconds,
        wait=_spread(total.waits),
        run=_spread(total.runs),
    )


def _spread(bins: Mapping[int, int]) -> Spread:
    p50, p95, p99 = (quantile_us(bins, part) for part in (0.5, 0.95, 0.99))
    return Spread(sum(bins.values()), *(None if us is None else us / 1e6 for us in (p50, p95, p99)))


def _by_level(tallies: Iterable[Tally]) -> dict[int, Tally]:
    levels: dict[int, Tally] = {}
    for tally in tallies:
        if tally.key is None:
            levels.setdefault(tally.level, Tally(tally.level)).add(tally)
    return levels


def _by_node(tallies: Iterable[Tally]) -> dict[tuple[int, KeyPath], Tally]:
    nodes: dict[tuple[int, KeyPath], Tally] = {}
    for tally in tallies:
        if tally.key is None:
            continue
        for size in range(1, len(tally.key) + 1) or (0,):
            node = (tally.level, tally.key[:size])
            nodes.setdefault(node, Tally(*node)).add(tally)
    return nodes
