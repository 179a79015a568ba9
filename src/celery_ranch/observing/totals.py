"""What a queue has ever seen, from what its workers reported."""

from __future__ import annotations

from collections.abc import Mapping

from celery_ranch.observing.status import LevelTotals, Times, Totals
from celery_ranch.scheduling.service import Service, merged

__all__ = ["BOUNDS", "totals"]

#: Below which powers of two of microseconds times are counted: from a millisecond to 19 hours.
_OCTAVES = range(10, 37)

#: Below which times `Times.within` counts, in seconds.
BOUNDS = tuple(2**octave / 1_000_000 for octave in _OCTAVES)


def totals(stored: int, ever: Service) -> Totals:
    """Return a queue's totals.

    Args:
        stored: How many entries it ever stored.
        ever: What was counted of it, ever.
    """
    tallies = merged(tally for tally in ever.tallies if tally.key is None)
    return Totals(
        stored=stored,
        levels=tuple(
            LevelTotals(
                level=tally.level,
                finished=tally.finished,
                failed=tally.failed,
                wait=_times(tally.wait_us, tally.waits),
                run=_times(tally.run_us, tally.runs),
            )
            for tally in sorted(tallies.values(), key=lambda each: each.level)
        ),
    )


def _times(total_us: int, bins: Mapping[int, int]) -> Times:
    # Two bins make an octave (see `service.bin_of`).
    within = (sum(n for at, n in bins.items() if at // 2 <= octave) for octave in _OCTAVES)
    return Times(sum(bins.values()), total_us / 1_000_000, tuple(within))
