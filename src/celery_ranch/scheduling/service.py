"""What workers count of the tasks they ran, and report to the store for whoever looks.

Times are counted in bins, two an octave, so that a quantile is true to about a
fifth of itself whatever the times are. A queue's counts are kept ever, and in
buckets of time for as long as `BUCKETS` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from celery_ranch.scheduling.model import KeyPath

__all__ = [
    "BUCKETS",
    "MAX_BUCKET_COUNTS",
    "MAX_REPORTED_KEYS",
    "Bucket",
    "BucketKind",
    "Service",
    "ServiceReport",
    "Tally",
    "WorkerFacts",
    "bin_bounds_us",
    "bin_of",
    "merged",
    "quantile_us",
]

#: Times of twelve days and more are counted as one.
_OCTAVES = 40

#: How many keys of a queue one report tells of at most.
MAX_REPORTED_KEYS = 50

#: How many counts a bucket has before keys that are new in it are not told apart.
MAX_BUCKET_COUNTS = 4_000


@dataclass(frozen=True, slots=True)
class BucketKind:
    """One of the lengths of time by which counts are kept."""

    seconds: int
    kept_seconds: int
    has_keys: bool
    """Whether its buckets tell what was counted of which key."""

    def starts(self, now_us: int, window_seconds: float) -> list[int]:
        """Return the starts of the buckets that cover a window which ends now, in seconds.

        Example:
            >>> BucketKind(10, 900, True).starts(1_000_000 * 25, 20)
            [0, 10, 20]
        """
        last = now_us // 1_000_000 // self.seconds * self.seconds
        first = int(now_us / 1_000_000 - window_seconds) // self.seconds * self.seconds
        return list(range(max(0, first), last + 1, self.seconds))


#: The finest first.
BUCKETS = (BucketKind(10, 900, has_keys=True), BucketKind(60, 21_600, has_keys=False))


@dataclass(frozen=True, slots=True)
class Bucket:
    """A stretch of time that counts are kept of, by the store's clock."""

    seconds: int
    """How long it is: one of those of `BUCKETS`."""
    start: int
    """When it began, in seconds since the epoch."""


def bin_of(us: int) -> int:
    """Return the bin that a time is counted in.

    Example:
        >>> [bin_of(us) for us in (0, 1, 2, 3, 4, 5, 6, 1_000, 1_000_000)]
        [0, 2, 4, 5, 6, 6, 7, 21, 41]
    """
    if us < 2:
        return 2 if us == 1 else 0
    octave = us.bit_length()
    return 2 * octave + (us >> (octave - 2)) - 2 if octave <= _OCTAVES else 2 * _OCTAVES + 1


def bin_bounds_us(at: int) -> tuple[float, float]:
    """Return from where to where a bin goes, in microseconds.

    Example:
        >>> bin_bounds_us(0), bin_bounds_us(2), bin_bounds_us(21), bin_bounds_us(22)
        ((0.0, 1.0), (1.0, 1.5), (768.0, 1024.0), (1024.0, 1536.0))
    """
    if at < 2:
        return 0.0, 1.0
    octave, half = divmod(at, 2)
    start = 2.0 ** (octave - 1)
    return start * (1 + half / 2), start * (1.5 + half / 2)


def quantile_us(bins: Mapping[int, int], part: float) -> float | None:
    """Return what that part of all times was at most; None if there are none.

    Example:
        >>> quantile_us({21: 1}, 0.5), quantile_us({}, 0.5)
        (896.0, None)
    """
    rank = part * sum(bins.values())
    for at in sorted(bins):
        if bins[at] >= rank and bins[at]:
            low, high = bin_bounds_us(at)
            return low + (high - low) * rank / bins[at]
        rank -= bins[at]
    return None


@dataclass(slots=True)
class Tally:
    """What ended of one level of a queue: of all its keys, or of one."""

    level: int
    key: KeyPath | None = None
    """Whose it was; None: of all together, (): of keys that are not told apart."""
    finished: int = 0
    """Tasks that ended, those that failed or are to be retried included."""
    failed: int = 0
    cost: int = 0
    """What they cost their keys, in millionths."""
    wait_us: int = 0
    run_us: int = 0
    waits: dict[int, int] = field(default_factory=dict)
    """How many waited how long before they started: bin -> count."""
    runs: dict[int, int] = field(default_factory=dict)

    def count(self, wait_us: int, run_us: int, cost: int, *, failed: bool) -> None:
        """Count one task more."""
        self.finished += 1
        self.failed += failed
        self.cost += cost
        self.wait_us += wait_us
        self.run_us += run_us
        at = bin_of(wait_us)
        self.waits[at] = self.waits.get(at, 0) + 1
        at = bin_of(run_us)
        self.runs[at] = self.runs.get(at, 0) + 1

    def add(self, other: Tally) -> None:
        """Count what another has counted, too."""
        self.finished += other.finished
        self.failed += other.failed
        self.cost += other.cost
        self.wait_us += other.wait_us
        self.run_us += other.run_us
        for bins, more in ((self.waits, other.waits), (self.runs, other.runs)):
            for at, count in more.items():
                bins[at] = bins.get(at, 0) + count


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What a worker says of itself."""

    queues: tuple[str, ...]
    """The fair queues it serves."""
    host: str
    pid: int
    version: str
    """Of celery-ranch."""
    capacity: int = 0
    """How many tasks its pool runs at once."""
    slots_taken: int = 0
    """Entries that count against it: running, or leased to run."""
    lookahead: int = 0
    """How many entries it likes to have at hand beyond its capacity."""
    stocked: int = 0
    """How many of those it has."""
    run_seconds: float | None = None
    """Its running estimate of what a task takes."""


@dataclass(frozen=True, slots=True)
class ServiceReport:
    """What a worker counted since its last report, by queue, and how it is."""

    facts: WorkerFacts
    tallies: Mapping[str, tuple[Tally, ...]] = field(default_factory=dict)
    is_last: bool = False
    """Whether the worker ends, and is to be shown no longer."""


@dataclass(frozen=True, slots=True)
class Service:
    """What workers counted of one queue, in a bucket of time or ever."""

    stored: int | None = None
    """How many entries the queue had ever stored when the bucket's first report came."""
    at_us: int | None = None
    """When that was."""
    tallies: tuple[Tally, ...] = ()


def merged(tallies: Iterable[Tally]) -> dict[tuple[int, KeyPath | None], Tally]:
    """Return the sums of tallies of the same level and key."""
    sums: dict[tuple[int, KeyPath | None], Tally] = {}
    for each in tallies:
        sums.setdefault((each.level, each.key), Tally(each.level, each.key)).add(each)
    return sums
