"""Compositions of tasks of `canvas_app`, and what is seen of them when they have run."""

import uuid
from dataclasses import dataclass, field

from celery import chain, chord, group
from celery.canvas import chunks, xmap, xstarmap
from celery.result import GroupResult

from tests.servers import eventually

KINDS_OF_REPLACEMENT = ("task", "chain", "group", "chord", "name")


@dataclass
class Parts:
    """Makes signatures that record under this run's name what they are called and their key."""

    app: object
    run: str = field(default_factory=lambda: f"run-{uuid.uuid4().hex[:8]}")

    def __call__(self, label, *args, task="note", link=None, **kwargs):
        kwargs = {"label": label, "run": self.run, **kwargs}
        made = self.app.signature(task, *args, kwargs=kwargs)
        if link is not None:
            made.link(link)
        return made

    def immutable(self, label, *args, **kwargs):
        signature = self(label, *args, **kwargs)
        signature.set_immutable(True)
        return signature

    def bare(self, task):
        return self.app.signature(task)


def replaced(kind):
    """Return compositions with a task that becomes something else of that kind."""
    return {
        f"replaced by {kind}": lambda s: s("r", task="replace", kind=kind),
        f"replaced by {kind} in a chain": lambda s: chain(
            s("a"), s("r", task="replace", kind=kind), s("b"), s("c")
        ),
        f"replaced by {kind} in a header": lambda s: chord(
            [s("a"), s("r", task="replace", kind=kind)], s("b")
        ),
        f"replaced by {kind} as a body": lambda s: chord(
            [s("a"), s("b")], s("r", task="replace", kind=kind)
        ),
    }


COMPOSITIONS = {
    "a task": lambda s: s("a", 1, 2),
    "a task with a base of its own": lambda s: s("a", task="note_by_its_base"),
    "chain": lambda s: chain(s("a", 1), s("b"), s("c", 2)),
    "chain of one": lambda s: chain(s("a", 1)),
    "chain in a chain": lambda s: chain(s("a"), chain(s("b"), s("c")), s("d")),
    "immutable steps": lambda s: chain(s("a"), s.immutable("b", 1), s("c")),
    "group": lambda s: group(s("a"), s("b"), s("c")),
    "group of one": lambda s: group([s("a")]),
    "group from a generator": lambda s: group(s(label) for label in "abc"),
    "group in a group": lambda s: group(s("a"), group(s("b"), s("c"))),
    "chord": lambda s: chord([s("a"), s("b")], s("c")),
    "chord of one": lambda s: chord([s("a")], s("b")),
    "chord of none": lambda s: chord([], s("a")),
    "chord from a generator": lambda s: chord((s(label) for label in "ab"), s("c")),
    "chord with an immutable body": lambda s: chord([s("a"), s("b")], s.immutable("c")),
    "chord of chains": lambda s: chord([chain(s("a"), s("b")), chain(s("c"), s("d"))], s("e")),
    "chord in a header": lambda s: chord([chord([s("a"), s("b")], s("c")), s("d")], s("e")),
    "chord with a chain as body": lambda s: chord([s("a"), s("b")], chain(s("c"), s("d"))),
    "chord with a group as body": lambda s: chord([s("a"), s("b")], group(s("c"), s("d"))),
    "chain that ends in a group": lambda s: chain(s("a"), group(s("b"), s("c"))),
    "chain with a group, made a chord": lambda s: chain(s("a"), group(s("b"), s("c")), s("d")),
    "chain of groups, made chords": lambda s: chain(
        group(s("a"), s("b")), group(s("c"), s("d")), s("e")
    ),
    "chord in a chain in a group": lambda s: group(
        chain(s("a"), chord([s("b"), s("c")], s("d")), s("e")), s("f")
    ),
    "map": lambda s: xmap(s.bare("item"), [[1, s.run], [2, s.run]], app=s.app.client),
    "starmap": lambda s: xstarmap(s.bare("pair"), [[1, 2, s.run], [3, 4, s.run]], app=s.app.client),
    "chunks": lambda s: chunks(
        s.bare("pair"), [[i, 1, s.run] for i in range(4)], 2, app=s.app.client
    ).group(),
    "map in a chain": lambda s: chain(
        xmap(s.bare("item"), [[1, s.run], [2, s.run]], app=s.app.client), s("a")
    ),
    **{
        name: build
        for kind in KINDS_OF_REPLACEMENT
        for name, build in replaced(kind).items()
    },
}  # fmt: skip


def await_value(result):
    """Return what a result comes to, asking for it again and again.

    Before Celery 5.7 a client's `get` may miss that a result came.
    """
    eventually(result.ready, 25, f"{result} is ready")
    if isinstance(result, GroupResult):
        return [await_value(each) for each in result.results]
    return result.result


def shape(result):
    """Return what a result consists of and comes from, without ids."""
    if isinstance(result, GroupResult):
        return ["group", shape(result.parent), [shape(each) for each in result.results]]
    if result is None:
        return None
    children = [shape(child) for child in result.children or []]
    return [result.state, shape(result.parent), children]
