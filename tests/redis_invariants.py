"""What must be true of the Redis keys of a queue between any two verbs."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import redis

from celery_ranch.scheduling.model import PUBLISHER_MEMORY_MS

COUNTERS = (
    *("sequence", "number", "delayed", "turn", "deaths", "version", "paths", "estimate"),
    "stored",
)
TREE = struct.Struct(">9d")
#: A race of the root: its level, and what every race has, and a level's credit.
LEVEL = struct.Struct(">2B6d")
STATES = ("leased", "started", "acknowledged", "finished")
JOIN = b"\x1f"
PAUSED, FULL, PACED, WITHDRAWN = 1, 2, 4, 128


class Race(NamedTuple):
    shifted: int
    v: float
    epoch: float
    arrival: float
    waiting: float
    in_service: float


class Stand(NamedTuple):
    tag: float
    epoch: float
    number: float
    is_served: int


class Limits(NamedTuple):
    concurrency: float
    interval: float
    burst: float
    backlog: float
    arrival: float
    due: float
    timer: float


class Node(NamedTuple):
    blocks: int
    last_leased_at: float
    in_service: int
    version: int
    share: float
    children: int
    delayed: int
    limits: Limits | None
    estimate: float
    stands: dict[int, Stand]


#: What a record may have between its first facts and its stands, by the flag that says so.
_PARTS = ((8, ">d"), (16, ">2I"), (32, ">7d"), (64, ">d"))


def read_node(record: bytes) -> Node:
    flags, last_leased_at, in_service, version = struct.unpack_from(">BdII", record)
    at, parts = 17, {}
    for flag, packed in _PARTS:
        if flags & flag:
            parts[flag] = struct.unpack_from(packed, record, at)
            at += struct.calcsize(packed)
    stands = {}
    for level, tag, epoch, number in struct.iter_unpack(">B3d", record[at:]):
        assert level % 16 not in stands
        stands[level % 16] = Stand(tag, epoch, number, level // 16)
    children, delayed = parts.get(16, (0, 0))
    return Node(
        flags & (PAUSED | FULL | PACED | WITHDRAWN),
        last_leased_at,
        in_service,
        version,
        parts.get(8, (1.0,))[0],
        children,
        delayed,
        Limits(*parts[32]) if 32 in parts else None,
        parts.get(64, (0.0,))[0],
        stands,
    )


def parent_of(name: bytes) -> bytes:
    return name.rpartition(JOIN)[0]


def above(name: bytes) -> Iterator[bytes]:
    """Yield a node's name and those above it, without the root's."""
    while name:
        yield name
        name = parent_of(name)


def check_queue(client: redis.Redis, prefix: str, queue: str) -> None:
    """Fail unless every entry is in exactly one place and every count is right."""
    state = State(client, f"{prefix}{{{queue}}}:")
    state.check_places()
    state.check_nodes()
    state.check_withdrawals()
    state.check_races()
    state.check_index()
    state.check_timers()
    state.check_tags()
    state.check_publishers()


class State:
    def __init__(self, client: Any, base: str) -> None:
        self._client = client
        self._base = base.encode()
        packed = client.get(self._base + b"tree") or bytes(TREE.size)
        self.tree = dict(zip(COUNTERS, TREE.unpack_from(packed), strict=True))
        self.races: dict[tuple[int, bytes], Race] = {}
        self.credits: dict[int, float] = {}
        for level, *facts, credit in LEVEL.iter_unpack(packed[TREE.size :]):
            self.races[level, b""] = Race(*facts)
            self.credits[level] = credit
        for name, record in self._hash("races").items():
            self.races[int(name[:2]), name[2:]] = Race(*struct.unpack(">B5d", record))
        self.nodes = {name: read_node(r) for name, r in self._hash("nodes").items()}

    @cached_property
    def ready(self) -> dict[tuple[int, bytes], list[tuple[bytes, float]]]:
        return {
            (int(name.partition(b":")[0]), name.partition(b":")[2]): members
            for name, members in self._sorted_sets("ready:").items()
        }

    @cached_property
    def delayed(self) -> dict[bytes, list[tuple[bytes, float]]]:
        return self._sorted_sets("delayed:")

    @cached_property
    def dead(self) -> list[tuple[bytes, float]]:
        return self._sorted_set("dead")

    @cached_property
    def leases(self) -> list[tuple[str, int, bytes, bytes]]:
        return [
            self._lease(held)
            for name in self._names("held:")
            for held in self._client.hgetall(name).values()
        ]

    @cached_property
    def policies(self) -> dict[bytes, tuple[float, ...]]:
        return {t: struct.unpack(">5d", packed) for t, packed in self._hash("policies").items()}

    @cached_property
    def tags(self) -> dict[bytes, list[str]]:
        return {name: tags.decode().split("\x1f") for name, tags in self._hash("tags").items()}

    @cached_property
    def data(self) -> dict[bytes, dict[str, str]]:
        texts = {name: told.decode().split("\x1f") for name, told in self._hash("data").items()}
        return {name: dict(zip(told[::2], told[1::2], strict=True)) for name, told in texts.items()}

    @cached_property
    def withdrawals(self) -> dict[int, dict[bytes, bytes]]:
        return {
            int(name): self._hash(f"withdrawal:{name.decode()}")
            for name, _ in self._sorted_set("withdrawals")
        }

    @property
    def until(self) -> dict[int, float]:
        return {int(name): until for name, until in self._sorted_set("withdrawals")}

    def aside(self, number: int) -> list[bytes]:
        return [entry for entry, _ in self._sorted_set(f"aside:{number}")]

    @cached_property
    def unswept(self) -> list[int]:
        return [int(name) for name, _ in self._sorted_set("unswept")]

    def leaf_of(self, key: bytes) -> bytes:
        """Where the entries of a key wait."""
        return key + JOIN if self.nodes[key].children else key

    def check_places(self) -> None:
        places = [entry for ready in self.ready.values() for entry, _ in ready]
        places += [member[18:] for delayed in self.delayed.values() for member, _ in delayed]
        places += [entry for entry, _ in self.dead]
        places += [entry for number in self.withdrawals for entry in self.aside(number)]
        places += [entry for state, _, entry, _ in self.leases if state != "acknowledged"]
        assert sorted(places) == sorted(self._hash("entries"))
        assert set(self._hash("reasons")) == {entry for entry, _ in self.dead}
        assert self._client.llen(self._base + b"wake") <= 1

    def check_nodes(self) -> None:
        taken = Counter(
            name for state, _, _, leaf in self.leases if state != "finished" for name in above(leaf)
        )
        assert {n: node.in_service for n, node in self.nodes.items() if node.in_service} == taken
        children = Counter(parent_of(name) for name in self.nodes if parent_of(name))
        assert {n: node.children for n, node in self.nodes.items() if node.children} == children
        assert self.tree["paths"] == sum(children.values())
        delayed = Counter(
            name for key, members in self.delayed.items() for _ in members for name in above(key)
        )
        for name, node in self.nodes.items():
            assert node.delayed == (delayed[name] if node.children else 0)
            limits = node.limits
            is_full = limits is not None and 0 < limits.concurrency <= node.in_service
            assert bool(node.blocks & FULL) == is_full, name
            assert bool(node.blocks & PACED) == (limits is not None and limits.due > 0), name
        assert self.tree["delayed"] == sum(map(len, self.delayed.values()))

    def check_withdrawals(self) -> None:
        numbers = {str(number).encode() for number in self.withdrawals}
        for kind in ("withdrawal:", "aside:"):
            start = len(self._base) + len(kind)
            assert {name[start:] for name in self._names(kind)} <= numbers
        assert len(self._names("withdrawal:")) == len(numbers)
        swept = Counter(self.withdrawals[number][b"node"] for number in self.unswept)
        blocked = {name for name, node in self.nodes.items() if node.blocks & WITHDRAWN}
        assert {n: int(count) for n, count in self._hash("withdrawing").items()} == swept
        assert blocked == set(swept)
        start = len(self._base) + len("sweep:")
        assert {int(name[start:]) for name in self._names("sweep:")} <= set(self.unswept)

    def check_races(self) -> None:
        waiting: Counter[tuple[int, bytes]] = Counter()
        for (level, key), members in self.ready.items():
            for name in above(self.leaf_of(key)):
                waiting[level, parent_of(name)] += len(members)
        in_service = Counter(
            (level, parent_of(name))
            for state, level, _, leaf in self.leases
            if state != "finished"
            for name in above(leaf)
        )
        assert {r: race.waiting for r, race in self.races.items() if race.waiting} == waiting
        assert {
            r: race.in_service for r, race in self.races.items() if race.in_service
        } == in_service
        for _, parent in self.races:
            assert not parent or self.nodes[parent].children

    def check_index(self) -> None:
        found: dict[tuple[int, bytes], tuple[float, int, int, int]] = {}
        for name, members in self._sorted_sets("index:").items():
            level, epoch, parent = (*name.split(b":", 2), b"")[:3]
            race = self.races[int(level), parent]
            assert int(epoch) in ({race.epoch, race.epoch - 1} if race.shifted else {race.epoch})
            for member, score in members:
                child = member[17:]
                assert parent_of(child) == parent
                assert (int(level), child) not in found
                place = (score, int(epoch), int(member[1:17]), int(member[:1]))
                found[int(level), child] = place
        expected = {}
        for level in range(11):
            for name in sorted(self.nodes, reverse=True):  # children before their parents
                node = self.nodes[name]
                is_waiting = not node.children and (level, name.removesuffix(JOIN)) in self.ready
                has_child = any(parent_of(one) == name for at, one in expected if at == level)
                if (is_waiting or has_child) and not node.blocks:
                    expected[level, name] = tuple(node.stands[level])
        assert found == expected

    def check_timers(self) -> None:
        expected = []
        for key, delayed in self.delayed.items():
            member, due = delayed[0]
            expected.append((member[:16] + key, due))
        for name, node in self.nodes.items():
            if node.limits is not None and node.limits.due:
                expected.append((b"%016d%s%s" % (node.limits.timer, JOIN, name), node.limits.due))
        assert sorted(self._sorted_set("timers")) == sorted(expected)
        assert set(self.delayed) <= set(self.nodes)

    def check_tags(self) -> None:
        expected = [
            (tag.encode() + JOIN + name) for name, tags in self.tags.items() for tag in tags
        ]
        assert sorted(expected) == [member for member, _ in self._sorted_set("tagged")]

    def check_publishers(self) -> None:
        for name in self._names("publisher:"):
            assert int(self._client.get(name)) > 0
            assert 0 < self._client.pttl(name) <= PUBLISHER_MEMORY_MS

    def _lease(self, held: bytes) -> tuple[str, int, bytes, bytes]:
        state, level, _, _, size = struct.unpack_from(">2B2dI", held)
        return STATES[state - 1], level, held[22 : 22 + size], held[22 + size :]

    def _names(self, kind: str) -> list[bytes]:
        pattern = self._base.replace(b"[", b"\\[") + kind.encode() + b"*"
        return list(self._client.scan_iter(match=pattern, count=1_000))

    def _sorted_sets(self, kind: str) -> dict[bytes, list[tuple[bytes, float]]]:
        start = len(self._base) + len(kind)
        return {
            name[start:]: self._client.zrange(name, 0, -1, withscores=True)
            for name in self._names(kind)
        }

    def _sorted_set(self, name: str) -> list[tuple[bytes, float]]:
        return list(self._client.zrange(self._base + name.encode(), 0, -1, withscores=True))

    def _hash(self, name: str) -> dict[bytes, bytes]:
        return dict(self._client.hgetall(self._base + name.encode()))
