"""What must be true of the Redis keys of a queue between any two verbs."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import redis

from celery_ranch.scheduling.model import PUBLISHER_MEMORY_MS

COUNTERS = (
    "v",
    "epoch",
    "shifted",
    "sequence",
    "number",
    "arrival",
    "waiting",
    "delayed",
    "leased",
    "turn",
    "deaths",
)
STATES = ("leased", "started", "acknowledged", "finished")


def check_queue(client: redis.Redis, prefix: str, queue: str) -> None:
    """Fail unless every entry is in exactly one place and every count is right."""
    state = _State(client, f"{prefix}{{{queue}}}:")
    state.check_places()
    state.check_counts()
    state.check_index()
    state.check_timers()
    state.check_publishers()


class Node(NamedTuple):
    tag: float
    epoch: float
    number: float
    last_leased_at: float
    is_served: int
    is_paused: int
    share: float


class _State:
    def __init__(self, client: Any, base: str) -> None:
        self._client = client
        self._base = base.encode()
        packed = client.get(self._base + b"tree") or bytes(88)
        self.tree = dict(zip(COUNTERS, struct.unpack(">11d", packed), strict=True))
        self.nodes = {k: Node(*struct.unpack(">4d2Bd", r)) for k, r in self._hash("nodes").items()}
        self.ready = self._sorted_sets("ready:")
        self.delayed = self._sorted_sets("delayed:")
        self.dead = self._sorted_set("dead")
        self.leases = [
            self._lease(held)
            for name in self._names("held:")
            for held in client.hgetall(name).values()
        ]

    def check_places(self) -> None:
        places = [entry for ready in self.ready.values() for entry, _ in ready]
        places += [member[17:] for delayed in self.delayed.values() for member, _ in delayed]
        places += [entry for entry, _ in self.dead]
        places += [entry for state, entry in self.leases if state != "acknowledged"]
        assert sorted(places) == sorted(self._hash("entries"))
        assert set(self._hash("reasons")) == {entry for entry, _ in self.dead}

    def check_counts(self) -> None:
        assert self.tree["waiting"] == sum(map(len, self.ready.values()))
        assert self.tree["delayed"] == sum(map(len, self.delayed.values()))
        taken = [entry for state, entry in self.leases if state != "finished"]
        assert self.tree["leased"] == len(taken)
        assert self._client.llen(self._base + b"wake") <= 1

    def check_index(self) -> None:
        epoch = self.tree["epoch"]
        epochs = [epoch, epoch - 1] if self.tree["shifted"] else [epoch]
        found = {}
        for name, members in self._sorted_sets("index:").items():
            assert int(name) in epochs
            for member, score in members:
                key = member[17:]
                assert key not in found
                found[key] = (score, int(name), int(member[:1]), int(member[1:17]))
        due = {key: self.nodes[key] for key in self.ready if not self.nodes[key].is_paused}
        assert found == {
            key: (node.tag, node.epoch, node.is_served, node.number) for key, node in due.items()
        }

    def check_timers(self) -> None:
        expected = []
        for key, delayed in self.delayed.items():
            member, due = delayed[0]
            expected.append((member[:16] + key, due))
        assert sorted(self._sorted_set("timers")) == sorted(expected)
        assert set(self.delayed) <= set(self.nodes)

    def check_publishers(self) -> None:
        for name in self._names("publisher:"):
            assert int(self._client.get(name)) > 0
            assert 0 < self._client.pttl(name) <= PUBLISHER_MEMORY_MS

    def _lease(self, held: bytes) -> tuple[str, bytes]:
        state, _, size = struct.unpack_from(">BdI", held)
        return STATES[state - 1], held[13 : 13 + size]

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
