"""Of the keys that are given the right one counts, and what is called later has it too."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, chain, chord, group, xstarmap

from celery_ranch import InvalidKeyError
from celery_ranch.config import Settings
from celery_ranch.publishing.inheritance import signature_with_key, write_key
from celery_ranch.publishing.keys import Call, chosen_key

NOBODY = Settings()
RUNNING = SimpleNamespace(lru_key="running")

app = Celery("keys", broker="memory://", set_as_current=False)


@app.task(name="add", shared=False)
def add(x: int, y: int = 0) -> int:
    return x + y


def call(**facts: Any) -> Call:
    return Call(**{"task": "tasks.add", "args": (1,), "kwargs": {}, **facts})


def setting(key: Any) -> Settings:
    return Settings(lru_key=key)


@pytest.mark.parametrize(
    "made, settings, running, key",
    [
        (call(), NOBODY, None, None),
        (call(given="call", header="message"), setting(("setting",)), RUNNING, "call"),
        (call(header="message"), setting(("setting",)), RUNNING, "message"),
        (call(), setting(("setting",)), RUNNING, "setting"),
        (call(), NOBODY, RUNNING, "running"),
        (call(), Settings(inherit_key=False), RUNNING, None),
        (call(), NOBODY, SimpleNamespace(), None),
        (call(), setting(lambda task, args, kwargs: None), RUNNING, "running"),
        (call(), setting(lambda task, args, kwargs: f"{task}{args[0]}"), None, "tasks.add1"),
        (call(given=["one"]), NOBODY, None, "one"),
    ],
)
def test_the_first_key_that_is_given_counts(
    made: Call, settings: Settings, running: Any, key: str | None
) -> None:
    assert chosen_key(made, settings, running) == (None if key is None else (key,))


@pytest.mark.parametrize("bad", ["", 42, b"acme", (), "x" * 513, ("a",) * 9])
def test_what_is_not_a_key_is_refused_whoever_gives_it(bad: Any) -> None:
    for made, settings in (
        (call(given=bad), NOBODY),
        (call(header=bad), NOBODY),
        (call(), setting(lambda *_: bad)),
    ):
        with pytest.raises(InvalidKeyError):
            chosen_key(made, settings, None)


def test_a_built_in_task_follows_what_it_serves() -> None:
    by_task = setting(lambda task, args, kwargs: f"{task}:{args[0]}")
    mapped = add.map([7, 8])
    assert chosen_key(Call("celery.map", (), mapped.kwargs), by_task, None) == ("add:7",)
    mapped = xstarmap(add.s().set(lru_key="own"), [(7, 8)])
    assert chosen_key(Call("celery.starmap", (), mapped.kwargs), by_task, None) == ("own",)
    unlock = Call("celery.chord_unlock", ("group", add.s(3)), {})
    assert chosen_key(unlock, by_task, None) == ("add:3",)


def test_a_built_in_task_of_no_one_has_no_key_from_the_setting() -> None:
    cleanup = Call("celery.backend_cleanup", (), {})
    assert chosen_key(cleanup, setting(("acme",)), None) is None


def keys_of(signature: Any) -> Any:
    """Return the keys in a signature, as nested as it is."""
    kwargs = signature["kwargs"]
    if signature["task"] == "celery.chord":
        header = kwargs["header"]
        parts = header["kwargs"]["tasks"] if isinstance(header, dict) else header
        return ([keys_of(part) for part in parts], keys_of(kwargs["body"]))
    if signature["task"] in ("celery.chain", "celery.group"):
        return [keys_of(task) for task in kwargs["tasks"]]
    return signature["options"].get("lru_key")


@pytest.mark.parametrize(
    "signature, keys",
    [
        (add.s(1), "acme"),
        (add.s(1).set(lru_key="own"), "own"),
        (chain(add.s(1), add.s(2).set(lru_key="own")), ["acme", "own"]),
        (group(add.s(1), add.s(2).set(lru_key="own")), ["acme", "own"]),
        (chord([add.s(1).set(lru_key="own"), add.s(2)], add.s(3)), (["own", "acme"], "acme")),
        (chain(add.s(1), group(add.s(2), chain(add.s(3), add.s(4)))), None),
    ],
)
def test_every_part_that_has_no_key_gets_one(signature: Any, keys: Any) -> None:
    before = copy.deepcopy(dict(signature))
    found = keys_of(signature_with_key(signature, "acme"))
    if keys is None:
        assert "None" not in str(found)
    else:
        assert found == keys
    assert dict(signature) == before


def test_a_message_s_links_errbacks_steps_and_chord_get_the_key() -> None:
    embed = {
        "callbacks": [add.s(1)],
        "errbacks": [add.s(2)],
        "chain": [add.s(3)],
        "chord": add.s(4),
    }
    write_key(embed, ["acme"])
    written = [*embed["callbacks"], *embed["errbacks"], *embed["chain"], embed["chord"]]
    assert [keys_of(signature) for signature in written] == [["acme"]] * 4
