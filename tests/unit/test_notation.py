"""A key as it is written for people is that key when it is read."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from celery_ranch import InvalidKeyError
from celery_ranch.cli.notation import read_key, visible, written_key
from celery_ranch.scheduling.model import KeyPath

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
tricky = st.text(st.sampled_from(list("/\\ax \t\n\x1b\x00-[]‮👩‍💻\U000e0001é")), min_size=1)
paths = st.lists(texts | tricky, min_size=1, max_size=8).map(tuple)


@given(paths)
@example(("24/7",))
@example((" ",))
@example(("\\x41",))
@example(("a\\", "/b"))
def test_what_is_written_reads_as_the_same_key(path: KeyPath) -> None:
    assert read_key(written_key(path)) == path


@given(paths)
def test_what_is_written_is_one_line_that_a_terminal_only_shows(path: KeyPath) -> None:
    written = written_key(path)
    assert written.isprintable()
    assert written == written.strip()


@given(paths, paths)
def test_different_keys_are_written_differently(one: KeyPath, other: KeyPath) -> None:
    assert (written_key(one) == written_key(other)) is (one == other)


@given(st.text())
def test_whatever_is_typed_is_a_key_or_refused(text: str) -> None:
    try:
        path = read_key(text)
    except InvalidKeyError:
        return
    assert read_key(written_key(path)) == path


@pytest.mark.parametrize(
    "typed, path",
    [
        ("acme", ("acme",)),
        ("acme/alice", ("acme", "alice")),
        (r"24\/7", ("24/7",)),
        (r"a\\b", ("a\\b",)),
        (r"\-dash", ("-dash",)),
        (r"a\x09b", ("a\tb",)),
        (r"\u00e9", ("é",)),
        (r"\U0001f40e", ("🐎",)),
        (" spaced ", (" spaced ",)),
        ("[bold]acme", ("[bold]acme",)),
    ],
)
def test_keys_are_read_as_people_type_them(typed: str, path: KeyPath) -> None:
    assert read_key(typed) == path


@pytest.mark.parametrize(
    "typed", ["", "/", "a//b", "a/", "\\", r"\q", r"\x4", r"\U00110000", r"\ud800", "x" * 513]
)
def test_what_is_no_key_is_refused(typed: str) -> None:
    with pytest.raises(InvalidKeyError):
        read_key(typed)


@given(st.text())
def test_what_is_made_visible_cannot_act_on_a_terminal(text: str) -> None:
    assert visible(text).isprintable()
