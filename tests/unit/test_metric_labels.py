"""Labels of keys: distinct, of bounded length, and not without end."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from celery_ranch.cli.notation import read_key
from celery_ranch.observing.metrics.labels import OTHER, KeyLabels, key_label

KEYS = st.text(min_size=1, max_size=150).map(lambda part: (part,))


@given(st.lists(KEYS, unique=True, max_size=20))
@example([("x" * 150,), ("x" * 151,), ("other",), (r"\x6fther",), ("a\n",), (r"a\x0a",)])
def test_labels_are_distinct_short_and_one_line_of_what_can_be_seen(keys: list[str]) -> None:
    labels = [key_label(key) for key in keys]
    assert len({*labels}) == len(keys)
    for label in labels:
        assert label != OTHER
        assert len(label) <= 117
        assert label.isprintable()


@given(KEYS.filter(lambda key: len(key[0]) < 12))
@example(("other",))
@example((r"\x6fther",))
def test_a_label_that_is_not_cut_is_the_key_as_commands_take_it(key: tuple[str]) -> None:
    if len(key_label(key)) <= 100:
        assert read_key(key_label(key)) == key


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def keys(first: int, count: int) -> list[tuple[str]]:
    return [(f"key-{number}",) for number in range(first, first + count)]


def test_so_many_new_keys_get_a_label_in_an_hour_and_no_more() -> None:
    clock = Clock()
    labels = KeyLabels(10, clock)
    seen: set[str] = set()
    for minute in range(300):
        clock.seconds = 60.0 * minute
        seen |= {*labels.of("celery", keys(100 * minute, 5)).values()}
    assert 10 < len(seen) <= 10 + 10 * 5


def test_who_has_a_label_keeps_it_and_takes_nobody_s() -> None:
    clock = Clock()
    labels = KeyLabels(2, clock)
    for minute in range(0, 6_000, 10):
        clock.seconds = 60.0 * minute
        assert labels.of("celery", keys(0, 2)) == {("key-0",): "key-0", ("key-1",): "key-1"}
    assert labels.of("celery", keys(2, 3)) == {("key-2",): "key-2", ("key-3",): "key-3"}
    assert labels.of("other queue", keys(4, 1)) == {("key-4",): "key-4"}


def test_a_key_that_was_not_shown_for_a_day_is_a_new_one() -> None:
    clock = Clock()
    labels = KeyLabels(1, clock)
    assert labels.of("celery", keys(0, 1))
    clock.seconds = 86_401.0
    assert labels.of("celery", keys(1, 1))
    assert labels.of("celery", keys(0, 1)) == {}


def test_without_any_labels_no_key_is_told_apart() -> None:
    assert KeyLabels(0).of("celery", keys(0, 3)) == {}
