"""What both engines remember of a queue, in one form, so that it can be compared."""

from __future__ import annotations

from typing import Any

import redis

from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.engines.wire import target_text
from celery_ranch.scheduling.limits import NO_LIMITS, Limits
from tests.redis_invariants import Limits as StoredLimits
from tests.redis_invariants import Race, State, parent_of

Remembered = dict[str, Any]


def state_in_memory(engine: MemoryEngine, name: str) -> Remembered:
    """Return what the engine in memory remembers of a queue."""
    queue = engine._open(name)
    tree, nodes = queue._tree, queue.nodes
    races = {(level, ()): race for level, race in tree._root.races.items()}
    found: Remembered = {
        "counters": (queue._backlog._sequence, queue._number, queue.turn, queue.stored),
        "estimate": nodes.estimates._of_all or 0,
        "credits": {at: credit for at, credit in queue._levels._credits.items() if credit},
        "withdrawals": {
            each.number: (
                "/".join(each.node),
                each.helper,
                each.until_us,
                each.taken,
                each.number in queue.withdrawals._unswept,
                [entry.entry_id for _, entry in sorted(each.aside.items())],
            )
            for each in queue.withdrawals._open.values()
        },
    }
    for path, node in tree._nodes.items():
        races |= {(level, path): race for level, race in node.races.items()}
        assert node.parent is not None
        stands = {
            level: (node.parent.races[level]._present_tag(stand), bool(stand.served), number)
            for level, stand in node.stands.items()
            if (number := stand.served or stand.arrival)
        }
        limits = nodes._limits.get(path, NO_LIMITS)
        found["/".join(path)] = {
            "facts": (int(node.blocks), node.share, node.in_service, node.children),
            "last_leased_at": queue._last_leased_at_us.get(path, 0),
            "estimate": nodes.estimates._of_key.get(path, 0),
            "stands": stands,
            "limits": _numbers(limits),
            "rate": (nodes._arrival_us.get(path, 0), *nodes._timer.get(path, (0, 0))),
        }
    policies = nodes.policies
    found["set"] = {
        target_text(target).encode(): (policy.share or -1, *_numbers(policy.limits))
        for target, policy in policies._set.items()
    }
    found["tags"] = {"/".join(path): sorted(tags) for path, tags in policies._tags.items()}
    found["data"] = {"/".join(path): data for path, data in policies._data.items()}
    found["races"] = {
        (level, "/".join(path)): facts
        for (level, path), race in races.items()
        if any(facts := (race._virtual_time, race._arrivals, race.waiting, race.in_service))
    }
    return found


def state_in_redis(client: redis.Redis, prefix: str, name: str, tag_limit: int) -> Remembered:
    """Return what the engine in Redis remembers of a queue."""
    state = State(client, f"{prefix}{{{name}}}:")
    tree = state.tree
    found: Remembered = {
        "counters": (tree["sequence"], tree["number"], tree["turn"], tree["stored"]),
        "estimate": tree["estimate"],
        "credits": {level: credit for level, credit in state.credits.items() if credit},
        "withdrawals": {
            number: (
                _shown(facts[b"node"]),
                facts[b"helper"].decode(),
                state.until[number],
                int(facts[b"taken"]),
                number in state.unswept,
                [entry.decode() for entry in state.aside(number)],
            )
            for number, facts in state.withdrawals.items()
        },
    }
    for written, node in state.nodes.items():
        stands = {}
        for level, stand in node.stands.items():
            race = state.races.get((level, parent_of(written)), Race(0, 0, 0, 0, 0, 0))
            if stand.number:
                tag = _present(race, stand.epoch, stand.tag, tag_limit)
                stands[level] = (tag, bool(stand.is_served), stand.number)
        limits = node.limits or StoredLimits(-1, -1, -1, -1, 0, 0, 0)
        found[_shown(written)] = {
            "facts": (node.blocks, node.share, node.in_service, node.children),
            "last_leased_at": node.last_leased_at,
            "estimate": node.estimate,
            "stands": stands,
            "limits": limits[:4],
            "rate": limits[4:],
        }
    found["set"] = {target: tuple(policy) for target, policy in state.policies.items()}
    found["tags"] = {_shown(name): sorted(tags) for name, tags in state.tags.items()}
    found["data"] = {_shown(name): data for name, data in state.data.items()}
    found["races"] = {
        (level, _shown(parent)): facts
        for (level, parent), race in state.races.items()
        if any(facts := (race.v, race.arrival, race.waiting, race.in_service))
    }
    return found


def _numbers(limits: Limits) -> tuple[int, ...]:
    rate = (-1, -1) if limits.rate is None else (limits.rate.interval_us, limits.rate.burst)
    concurrency = -1 if limits.concurrency is None else limits.concurrency
    return (concurrency, *rate, -1 if limits.backlog is None else limits.backlog)


def _present(race: Race, epoch: float, tag: float, tag_limit: int) -> float:
    if epoch == race.epoch:
        return tag
    return max(0, tag - tag_limit) if race.shifted and epoch == race.epoch - 1 else 0


def _shown(written: bytes) -> str:
    parts = written.decode().split("\x1f")
    return "/".join(part.replace("\x1e1", "\x1f").replace("\x1e0", "\x1e") for part in parts)
