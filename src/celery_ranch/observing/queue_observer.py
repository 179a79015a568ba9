"""Looking at one queue again and again: which of its keys to show, and how they stand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from celery_ranch.observing.flows import Window, WindowReader, flow_of
from celery_ranch.observing.keys import key_status
from celery_ranch.observing.parts import Parts, evenness
from celery_ranch.observing.status import KeyStatus, LevelStatus, OtherKeys, QueueStatus
from celery_ranch.observing.totals import totals
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.figures import LevelFigures, NodeFigures, Survey
from celery_ranch.scheduling.model import KeyPath
from celery_ranch.scheduling.nodes import OWN

__all__ = ["QueueObserver"]

#: How many nodes are measured in one look, and in one call of the store.
_MOST_MEASURED = 300
_MEASURED_AT_ONCE = 40

#: Of how many of the busiest keys it is asked how they stand.
_BUSIEST = 50

#: Two looks further apart than this say nothing of what was between them, in seconds.
_LONGEST_GAP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look leaves for the next ones."""

    at_us: int
    stored: int
    present: Mapping[KeyPath, int]
    """How many entries of each key that was measured wait, are delayed or leased."""


class QueueObserver:
    """Looks at one queue.

    Args:
        engine: Where it is.
        queue: Its name.
        top: How many keys to show by each order.
        window_seconds: Of how long a time rates and parts received are.
    """

    def __init__(self, engine: Engine, queue: str, top: int, window_seconds: float) -> None:
        self._engine = engine
        self._queue = queue
        self._top = top
        self._window_seconds = window_seconds
        self._reader = WindowReader(engine, queue, window_seconds)
        self._cursor = 0
        self._remembered: list[KeyPath] = []
        self._looks: deque[_Look] = deque()
        self._since_us: dict[tuple[KeyPath, int], int] = {}
        """From when on a node has had work waiting at a level, as far as is known for sure."""

    def look(self) -> tuple[QueueStatus, int]:
        """Return what goes on, and the time of the store in microseconds."""
        counts = self._engine.snapshot(self._queue)
        survey = self._engine.survey(self._queue, self._cursor)
        self._cursor = survey.cursor
        window = self._reader.read(survey.now_us)
        nodes = self._measured(survey, window)
        self._note_backlogs(nodes, survey.now_us)
        parts = Parts(nodes, survey, window)
        every = [
            key_status(node, parts, survey.now_us, self._enqueued(node, survey.now_us, window))
            for node in _with_oldest(nodes).values()
        ]
        shown = self._chosen(every)
        ever = totals(survey.stored, self._engine.service(self._queue))
        status = QueueStatus(
            queue=self._queue,
            waiting=counts.waiting,
            delayed=counts.delayed,
            leased=counts.leased,
            dead=counts.dead,
            workers=counts.workers,
            next_due=None if counts.next_due_in_us is None else counts.next_due_in_us / 1e6,
            oldest_wait=max(
                (each.oldest_wait for each in every if each.oldest_wait is not None), default=None
            ),
            evenness=evenness(nodes.values(), window, self._lasting(survey.now_us)),
            flow=flow_of(
                window.levels.values(), window.seconds, self._stored_per_second(survey, window)
            ),
            levels=tuple(_levels(survey, window)),
            keys=shown,
            other=_other(shown, survey, counts.delayed),
            totals=ever,
        )
        self._remember(every, shown, survey)
        return status, survey.now_us

    def key(self, key: KeyPath) -> KeyStatus | None:
        """Return how one key stands, among its siblings; None if nothing is known of it."""
        survey = self._engine.survey(self._queue, self._cursor)
        window = self._reader.read(survey.now_us)
        nodes = self._measured(survey, window, first=key)
        node = _with_oldest(nodes).get(key)
        if node is None:
            return None
        enqueued = self._enqueued(node, survey.now_us, window)
        return key_status(node, Parts(nodes, survey, window), survey.now_us, enqueued)

    # -- which keys ------------------------------------------------------------------

    def _measured(
        self, survey: Survey, window: Window, first: KeyPath | None = None
    ) -> dict[KeyPath, NodeFigures]:
        """Return how the keys stand that are worth it, and all above them."""
        wanted: dict[KeyPath, None] = {}
        asked = [] if first is None else [first]
        sources = (asked, self._remembered, survey.sampled, survey.keys, window.busiest[:_BUSIEST])
        for key in (key for source in sources for key in source):
            if OWN not in key:
                wanted |= dict.fromkeys(key[:size] for size in range(1, len(key) + 1))
        names = [*wanted][:_MOST_MEASURED]
        starts = range(0, len(names), _MEASURED_AT_ONCE)
        pages = (names[at : at + _MEASURED_AT_ONCE] for at in starts)
        return {
            node.key: node for page in pages for node in self._engine.measure(self._queue, page)
        }

    def _chosen(self, every: list[KeyStatus]) -> tuple[KeyStatus, ...]:
        """Return the first keys by each order, and those above them; most waiting first."""
        orders = _orders(every)
        chosen = {each.key for order in orders for each in order[: self._top]}
        chosen = {key[:size] for key in chosen for size in range(1, len(key) + 1)}
        return tuple(each for each in orders[0] if each.key in chosen)

    def _remember(
        self, every: list[KeyStatus], shown: tuple[KeyStatus, ...], survey: Survey
    ) -> None:
        next_ones = (each for order in _orders(every) for each in order[: 2 * self._top])
        keys = dict.fromkeys(each.key for each in (*shown, *next_ones))
        self._remembered = [*keys][: _MOST_MEASURED // 2]
        present = {key: _present(each) for each in every if (key := each.key) in keys}
        apart_us = self._window_seconds * 1e6 / 12
        if not self._looks or survey.now_us - self._looks[-1].at_us >= apart_us:
            self._looks.append(_Look(survey.now_us, survey.stored, present))
        oldest_us = survey.now_us - self._window_seconds * 1e6 - apart_us
        while self._looks[0].at_us < oldest_us:
            self._looks.popleft()

    # -- what came -----------------------------------------------------------------------

    def _stored_per_second(self, survey: Survey, window: Window) -> float | None:
        """Return how many entries were stored a second since the earliest moment known."""
        known = [(look.at_us, look.stored) for look in self._looks]
        if window.stored is not None and window.stored_at_us is not None:
            known.append((window.stored_at_us, window.stored))
        at_us, stored = min(known, default=(survey.now_us, survey.stored))
        seconds = (survey.now_us - at_us) / 1e6
        return max(0, survey.stored - stored) / seconds if seconds >= 1 else None

    def _enqueued(self, node: NodeFigures, now_us: int, window: Window) -> float | None:
        """Return how many entries of a key were stored a second: those that ended, and more."""
        look = next((look for look in self._looks if node.key in look.present), None)
        if look is None or now_us - look.at_us < 1_000_000:
            return None
        present = sum(stand.waiting for stand in node.stands) + node.delayed + node.in_service
        more = (present - look.present[node.key]) / ((now_us - look.at_us) / 1e6)
        ended = sum(tally.finished for tally in window.of_key(node.key)) / window.seconds
        return max(0.0, ended + more)

    # -- who had work throughout ---------------------------------------------------------

    def _note_backlogs(self, nodes: Mapping[KeyPath, NodeFigures], now_us: int) -> None:
        """Note from when on nodes have had work waiting.

        That is from when on the first in line waits, and if it had some at the
        last look, from when on it was known to have then.
        """
        before = self._since_us
        if not self._looks or now_us - self._looks[-1].at_us > _LONGEST_GAP_SECONDS * 1e6:
            before = {}
        since: dict[tuple[KeyPath, int], int] = {}
        for key in sorted(nodes, key=len, reverse=True):
            node = nodes[key]
            levels = [stand.level for stand in node.stands if stand.waiting]
            for level in levels:
                # Of a key that waits at several levels it is not known which line it is.
                is_known = node.waiting_since_us is not None and len(levels) == 1
                first_us = node.waiting_since_us if is_known else None
                own = (first_us or now_us, before.get((key, level), now_us))
                since[key, level] = min(*own, since.get((key, level), now_us))
                above = (key[:-1], level)
                if key[:-1]:
                    since[above] = min(since.get(above, now_us), since[key, level])
        self._since_us = since

    def _lasting(self, now_us: int) -> set[tuple[KeyPath, int]]:
        start_us = now_us - self._window_seconds * 1e6
        return {each for each, since_us in self._since_us.items() if since_us <= start_us}


def _orders(every: list[KeyStatus]) -> list[list[KeyStatus]]:
    """Return keys by backlog, by oldest wait, and by lead from either end."""

    def work(each: KeyStatus) -> tuple[float, ...]:
        return -each.waiting, -each.leased, -(each.received or 0), -each.delayed

    busy = [each for each in every if _present(each) or each.received or each.is_paused]
    waiting = [each for each in busy if each.oldest_wait is not None]
    racing = [each for each in busy if any(level.is_racing for level in each.levels)]
    behind = sorted(racing, key=_lead)
    return [
        sorted(busy, key=work),
        sorted(waiting, key=lambda each: -(each.oldest_wait or 0)),
        behind,
        behind[::-1],
    ]


def _lead(each: KeyStatus) -> tuple[float, float]:
    return min(at.lead for at in each.levels if at.is_racing), -(each.oldest_wait or 0)


def _present(each: KeyStatus) -> int:
    return each.waiting + each.delayed + each.leased


def _with_oldest(nodes: Mapping[KeyPath, NodeFigures]) -> dict[KeyPath, NodeFigures]:
    """Return nodes that have waited as long as any that was measured below them."""
    found = dict(nodes)
    for key in sorted(nodes, key=len, reverse=True):
        since_us, above = found[key].waiting_since_us, found.get(key[:-1])
        if since_us is not None and above is not None:
            first_us = min(since_us, above.waiting_since_us or since_us)
            found[key[:-1]] = replace(above, waiting_since_us=first_us)
    return found


def _levels(survey: Survey, window: Window) -> Iterable[LevelStatus]:
    figures = {each.level: each for each in survey.levels}
    for level in sorted({*figures, *window.levels}):
        each = figures.get(level, LevelFigures(level, 0, 0, 0))
        counted = [window.levels[level]] if level in window.levels else []
        if counted or each.waiting or each.in_service:
            flow = flow_of(counted, window.seconds)
            yield LevelStatus(level, each.waiting, each.in_service, each.racing, flow)


def _other(shown: tuple[KeyStatus, ...], survey: Survey, delayed: int) -> OtherKeys:
    """Return what is left of the queue's totals without the outermost keys that are shown."""
    outermost = [each for each in shown if len(each.key) == 1]
    racing = sum(level.is_racing for each in outermost for level in each.levels)
    waiting = sum(each.waiting for each in survey.levels)
    leased = sum(each.in_service for each in survey.levels)
    received = [each.received for each in outermost if each.received is not None]
    return OtherKeys(
        keys=max(0, sum(each.racing for each in survey.levels) - racing),
        waiting=max(0, waiting - sum(each.waiting for each in outermost)),
        delayed=max(0, delayed - sum(each.delayed for each in outermost)),
        leased=max(0, leased - sum(each.leased for each in outermost)),
        received=max(0.0, 1 - sum(received)) if received else None,
    )
