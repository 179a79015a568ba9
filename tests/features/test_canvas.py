"""Compositions on fair tasks: what they give, and that the key stays with all their parts."""

import pytest
from celery import chain, chord, group
from celery.canvas import StampingVisitor
from celery.exceptions import ChordError
from kombu.utils.json import dumps

from tests.features.compositions import (
    COMPOSITIONS,
    KINDS_OF_REPLACEMENT,
    Parts,
    await_value,
    shape,
)
from tests.servers import eventually

APP = "canvas_app"

pytestmark = pytest.mark.usefixtures("worker")

with_and_without_a_key = pytest.mark.parametrize("key", ["acme", None], ids=("fair", "plain"))


@pytest.fixture
def parts(app):
    return Parts(app)


def keys(app, run):
    """Return the key of each label that was recorded, in the order of the labels."""
    return dict(sorted(line.split(" ", 1) for line in app.recorded(run)))


def await_keys(app, run, count):
    app.await_recorded(run, count)
    return keys(app, run)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_a_composition_gives_on_fair_tasks_what_it_gives_on_plain_ones(app, name):
    build = COMPOSITIONS[name]
    # Before Celery 5.6 such parts come in any order.
    has_open_order = name in ("replaced by group in a header", "replaced by chord in a header")
    results, seen = {}, {}
    for key in ("acme", None):
        parts = Parts(app)
        results[key] = build(parts).apply_async(lru_key=key)
        value = await_value(results[key])
        if has_open_order:
            value = sorted(value)
        ran = keys(app, parts.run)
        assert set(ran.values()) == {str(key)}
        seen[key] = (value, list(ran), len(app.recorded(parts.run)))
    assert seen["acme"] == seen[None]
    # A step's own result is stored after the next step was called.
    fair, plain = results["acme"], results[None]
    eventually(lambda: shape(fair) == shape(plain), 10, "parents and children are the same")


# -- whose ------------------------------------------------------------------------------


def test_a_part_s_own_key_wins_and_the_others_keep_theirs(app, parts):
    own = parts("own").set(lru_key="own")
    made = chain(
        parts("a"), own, parts("b"), group(parts("c"), own.clone()), parts("d").set(lru_key="d")
    )
    made.apply_async(lru_key="acme").get(timeout=25)
    assert keys(app, parts.run) == {"a": "acme", "b": "acme", "c": "acme", "d": "d", "own": "own"}


@pytest.mark.parametrize(
    "build, expected",
    [
        (lambda s: chord([s("a"), s("b")], s("c")).set(lru_key="all"), {"a", "b", "c"}),
        (lambda s: chord([s("a"), s("b")], s("c").set(lru_key="all")), {"c"}),
        (lambda s: chord([s(x).set(lru_key="all") for x in "ab"], s("c")), {"a", "b", "c"}),
        (lambda s: group(s("a"), s("b")).set(lru_key="all"), {"a", "b"}),
        (lambda s: chain(s("a"), s("b")).set(lru_key="all"), {"a", "b"}),
        (lambda s: chain(s("a").set(lru_key="all"), s("b")), {"a", "b"}),
        (lambda s: chain(s("a"), s("b").set(lru_key="all"), s("c")), {"b", "c"}),
    ],
    ids=[
        *("a chord", "a body", "the parts of a header"),
        *("a group", "a chain", "a first step", "a later step"),
    ],
)
def test_a_key_on_a_part_of_a_composition_reaches_what_it_serves(app, parts, build, expected):
    await_value(build(parts).apply_async())
    assert {label for label, key in keys(app, parts.run).items() if key == "all"} == expected


def test_celery_forgets_what_is_set_on_a_group_that_becomes_a_header(parts):
    header = group(parts("a"), parts("b")).set(lru_key="acme", queue="reports")
    written = dumps(header | parts("c"))
    assert "canvas_app.note" in written
    assert not [forgotten for forgotten in ("acme", "reports") if forgotten in written]


@pytest.mark.parametrize("kind", KINDS_OF_REPLACEMENT)
def test_a_replacement_may_have_a_key_of_its_own(app, parts, kind):
    made = chain(parts("a"), parts("r", task="replace", kind=kind, key="own"), parts("z"))
    made.apply_async(lru_key="acme").get(timeout=25)
    ran = keys(app, parts.run)
    assert [ran.pop(label) for label in ("a", "r", "z")] == ["acme"] * 3
    assert set(ran.values()) == {"own"}


@with_and_without_a_key
@pytest.mark.parametrize("kind, count", [("chain", 2), ("group", 2), ("chord", 3)])
def test_a_composition_that_a_task_calls_has_the_task_s_key(app, parts, key, kind, count):
    app.send("call_canvas", kind, parts.run, lru_key=key).get(timeout=25)
    assert set(await_keys(app, parts.run, count).values()) == {str(key)}


@pytest.mark.parametrize("task", ["celery.backend_cleanup", "celery.accumulate"])
def test_celery_s_own_tasks_run_on_behalf_of_a_key(app, task):
    result = app.client.send_task(task, lru_key="acme", ignore_result=False)
    assert result.get(timeout=20) == {"celery.backend_cleanup": None}.get(task, [])


# -- links and errors -------------------------------------------------------------------


@with_and_without_a_key
def test_what_is_linked_to_a_composition_has_its_key(app, parts, key):
    made = [
        chain(parts("a"), parts("b")),
        chord([parts("c"), parts("d")], parts("e")),
    ]
    for number, composition in enumerate(made):
        composition.link(parts(f"link{number}"))
        composition.apply_async(lru_key=key).get(timeout=25)
    assert await_keys(app, parts.run, 7) == dict.fromkeys(
        ["a", "b", "c", "d", "e", "link0", "link1"], str(key)
    )


FAILURES = {
    "a chain's step": lambda s: chain(s("a"), s("no", task="fail"), s("never")),
    "a chain's last step": lambda s: chain(s("a"), s("b"), s("no", task="fail")),
    "a replacement": lambda s: s("a", task="replace", kind="failure"),
    "a chord's body": lambda s: chord([s("a"), s("b")], s("no", task="fail")),
    "a part of a chord": lambda s: chord([s("a"), s("no", task="fail")], s("never")),
    "all of a chord": lambda s: chord([s(x, task="fail") for x in "ab"], s("never")),
    "a step of a chord's part": lambda s: chord(
        [chain(s("a"), s("no", task="fail"), s("never"))], s("never")
    ),
}


@pytest.mark.filterwarnings("ignore:task_allow_error_cb_on_chord_header")
@pytest.mark.parametrize("build", FAILURES.values(), ids=FAILURES)
def test_a_failure_in_a_composition_is_what_it_is_on_plain_tasks(app, build):
    seen = {}
    for key in ("acme", None):
        parts = Parts(app)
        made = build(parts)
        made.link_error(parts("old", task="old_errback"))
        made.link_error(parts("new", task="new_errback"))
        result = made.apply_async(lru_key=key)
        error = result.get(timeout=25, propagate=False)

        def both_were_called(run=parts.run):
            labels = keys(app, run)
            return "old" in labels and any(label.startswith("new:") for label in labels)

        eventually(both_were_called, 20, "both errbacks were called")
        ran = keys(app, parts.run)
        assert "never" not in ran
        assert set(ran.values()) == {str(key)}
        seen[key] = (result.state, type(error), list(ran))
    assert seen["acme"] == seen[None]
    assert seen["acme"][0] == "FAILURE"


@pytest.mark.parametrize("kind", ["a part of a chord", "all of a chord", "a chord's body"])
def test_errbacks_on_a_chord_s_header_are_called_as_on_plain_tasks(app, monkeypatch, kind):
    monkeypatch.setitem(app.client.conf, "task_allow_error_cb_on_chord_header", True)
    seen = []
    for key in ("acme", None):
        parts = Parts(app)
        made = FAILURES[kind](parts)
        made.link_error(parts("old", task="old_errback"))
        result = made.apply_async(lru_key=key)
        await_value(result)
        # One for each part of the header that fails, and one for the body.
        calls = {"a part of a chord": 2, "all of a chord": 3, "a chord's body": 1}[kind]
        errbacks = [f"old {key}"] * calls
        eventually(
            lambda run=parts.run, told=errbacks: (
                [line for line in app.recorded(run) if line.startswith("old")] == told
            ),
            20,
            f"{calls} errbacks were called",
        )
        seen.append((result.state, sorted(keys(app, parts.run))))
    assert seen[0] == seen[1]


def test_a_chord_whose_header_fails_is_a_chord_error(app, parts):
    made = chord([parts("a"), parts("no", task="fail")], parts("never"))
    result = made.apply_async(lru_key="acme")
    error = result.get(timeout=25, propagate=False)
    assert isinstance(error, ChordError)
    assert "ValueError" in str(error)
    assert result.state == "FAILURE"


def test_each_part_of_a_group_has_its_errback_called_for_its_key(app, parts):
    made = group(parts("x", task="fail"), parts("y", task="fail"))
    made.link_error(parts("old", task="old_errback"))
    result = made.apply_async(lru_key="acme")
    assert isinstance(result.get(timeout=25, propagate=False)[0], ValueError)
    lines = app.await_recorded(parts.run, 4)
    assert sorted(lines) == ["old acme", "old acme", "x acme", "y acme"]


# -- what travels with a composition ----------------------------------------------------


class Stamps(StampingVisitor):
    """Stamps tasks, and otherwise what they call."""

    def on_signature(self, sig, **headers):
        return {"trace": "t-1", "stamped_headers": ["trace"]}

    def on_callback(self, callback, **headers):
        return {"called": "back"}


STAMPED = {
    "chain": lambda s: chain(s("a", task="stamps"), s("b", task="stamps")),
    "group": lambda s: group(s("a", task="stamps"), s("b", task="stamps")),
    "chord": lambda s: chord([s("a", task="stamps")], s("b", task="stamps")),
    "link": lambda s: s("a", task="stamps", link=s("b", task="stamps")),
}


@pytest.mark.parametrize("build", STAMPED.values(), ids=STAMPED)
def test_stamps_stay_with_a_composition_as_on_plain_tasks(app, build):
    seen = []
    for key in ("acme", None):
        parts = Parts(app)
        made = build(parts)
        made.stamp(visitor=Stamps())
        made.apply_async(lru_key=key)
        lines = sorted(app.await_recorded(parts.run, 2))
        assert "trace" in lines[1]
        seen.append([line.replace(f" {key} ", " ", 1) for line in lines])
    assert seen[0] == seen[1]


@with_and_without_a_key
def test_what_a_running_task_stamps_is_stamped(app, parts, key):
    app.send("call_stamped", parts.run, lru_key=key).get(timeout=25)
    lines = sorted(app.await_recorded(parts.run, 2))
    assert lines == [f"{label} {key} [('monitoring_id', 'm-1')]" for label in "ab"]


@with_and_without_a_key
def test_a_task_can_add_to_the_chord_it_is_in(app, parts, key):
    made = chord([parts("x", task="extend_its_chord"), parts("a")], parts("b"))
    value = made.apply_async(lru_key=key).get(timeout=25)
    assert sorted(value[3:-2].split(",")) == ["a()", "x", "x.added()"]
    assert keys(app, parts.run) == dict.fromkeys(["a", "b", "x", "x.added"], str(key))
