"""What must be true of the Redis keys of a queue between any two verbs."""

from __future__ import annotations

from typing import Any

import redis


def check_queue(client: redis.Redis, prefix: str, queue: str) -> None:
    """Fail unless every entry is in exactly one place and every count is right."""
    state = _State(client, f"{prefix}{{{queue}}}:")
    state.check_places()
    state.check_counts()
    state.check_index()
    state.check_timers()


class _State:
    def __init__(self, client: Any, base: str) -> None:
        self._client = client
        self._base = base.encode()
        self.tree = {k.decode(): int(v) for k, v in self._hash("tree").items()}
        self.nodes = {key: record.split(b" ") for key, record in self._hash("nodes").items()}
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
        places += [entry for state, entry in self.leases if state != b"acknowledged"]
        assert sorted(places) == sorted(self._hash("entries"))
        assert set(self._hash("reasons")) == {entry for entry, _ in self.dead}

    def check_counts(self) -> None:
        assert self.tree.get("waiting", 0) == sum(map(len, self.ready.values()))
        assert self.tree.get("delayed", 0) == sum(map(len, self.delayed.values()))
        taken = [entry for state, entry in self.leases if state != b"finished"]
        assert self.tree.get("leased", 0) == len(taken)
        assert self._client.llen(self._base + b"wake") <= 1

    def check_index(self) -> None:
        epoch = self.tree.get("epoch", 0)
        epochs = [epoch, epoch - 1] if self.tree.get("shifted") else [epoch]
        found = {}
        for name, members in self._sorted_sets("index:").items():
            assert int(name) in epochs
            for member, score in members:
                key = member[17:]
                assert key not in found
                found[key] = [b"%d" % score, name, member[:17]]
        due = {key for key in self.ready if not self._is_paused(key)}
        assert found == {key: self.nodes[key][:3] for key in due}

    def check_timers(self) -> None:
        expected = []
        for key, delayed in self.delayed.items():
            member, due = delayed[0]
            expected.append((member[:16] + key, due))
        assert sorted(self._sorted_set("timers")) == sorted(expected)
        assert set(self.delayed) <= set(self.nodes)

    def _is_paused(self, key: bytes) -> bool:
        return len(self.nodes[key]) > 4 and self.nodes[key][4] == b"1"

    def _lease(self, held: bytes) -> tuple[bytes, bytes]:
        state, _, size, rest = held.split(b" ", 3)
        return state, rest[: int(size)]

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
