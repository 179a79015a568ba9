"""The loader that makes a verb's Lua file a script Redis can run by its SHA.

A file's header is its interface, and this is the only reader of it. Under
``KEYS`` and ``ARGV`` each line begins with a name; the names become locals, in
Lua (`num` ones as numbers) and in `Script.command`. A last name that ends in
``...`` stands for any number of values: in Lua ``first_name`` is the place of
the first one. ``NEEDS`` names files of functions that are put in front, each
once, after what they themselves need. ``LATER`` in such a file's header says
that its functions are for what is not every day's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TypeAlias

__all__ = ["Argument", "Script", "load_script"]

Argument: TypeAlias = "bytes | str | int"

_PART = re.compile(r"^local .*\n(?:(?!local ).*\n?)*", re.MULTILINE)
_DEFINED = re.compile(r"^local (?:function )?(\w+)")
_WORD = re.compile(r"\w+")
_SECTION = re.compile(r"^-- (NEEDS|LATER|KEYS|ARGV|GIVES)\b *(.*)$")
_NAME = re.compile(r"^([a-z_]+)(\.\.\.)? +(\w+)(?: |$)")


@dataclass(frozen=True, slots=True)
class Script:
    """One verb as Redis runs it."""

    verb: str
    source: bytes
    sha: bytes
    keys: tuple[str, ...]
    """Names of its single keys; any further ones follow them."""
    values: tuple[str, ...]
    """Names of its single arguments; any further ones follow them."""

    def command(
        self,
        named: Mapping[str, Argument],
        more_keys: Sequence[Argument] = (),
        more_values: Sequence[Argument] = (),
    ) -> tuple[Argument, ...]:
        """Return the EVALSHA command with these keys and arguments.

        Raises:
            KeyError: One of the header's names is not given.
        """
        return (
            b"EVALSHA",
            self.sha,
            len(self.keys) + len(more_keys),
            *[named[name] for name in self.keys],
            *more_keys,
            *[named[name] for name in self.values],
            *more_values,
        )


@dataclass(frozen=True, slots=True)
class _Name:
    name: str
    is_rest: bool
    is_number: bool


@cache
def load_script(verb: str) -> Script:
    """Return the script of a verb, with what it needs in front.

    Raises:
        FileNotFoundError: There is no such verb.
        ValueError: Its header is not of the form the module describes.
    """
    text = _read(verb)
    keys, values = list(_names(text, "KEYS")), list(_names(text, "ARGV"))
    parts = [*_bindings("KEYS", keys), *_bindings("ARGV", values)]
    verb_code = _code(text)
    source = "\n".join([*parts, *_used(_needed(text, []), verb_code), verb_code]).encode()
    return Script(
        verb=verb,
        source=source,
        sha=hashlib.sha1(source, usedforsecurity=False).hexdigest().encode(),
        keys=tuple(name.name for name in keys if not name.is_rest),
        values=tuple(name.name for name in values if not name.is_rest),
    )


def _read(name: str) -> str:
    return (resources.files(__package__) / "lua" / f"{name}.lua").read_text("utf-8")


def _header(text: str) -> Iterator[tuple[str, str]]:
    """Yield (section, rest of the line) for each line of the header."""
    section = ""
    for line in text.splitlines():
        if not line.startswith("--") or (line == "--" and section == "GIVES"):
            return
        match = _SECTION.match(line)
        if match:
            section = match[1]
        if section:
            yield section, (match[2] if match else line[2:]).strip()


def _names(text: str, section: str) -> Iterator[_Name]:
    """Yield the names of a section; lines that go on with a text have none."""
    for part, line in _header(text):
        match = _NAME.match(line) if part == section else None
        if match and match[3] in {"str", "num", "zset", "hash", "list"}:
            yield _Name(match[1], match[2] is not None, match[3] == "num")


def _needed(text: str, found: list[str]) -> list[str]:
    for part, line in _header(text):
        for name in re.findall(r"[a-z_]+", line) if part == "NEEDS" else ():
            _needed(_read(name), found)
            if name not in found:
                found.append(name)
    return found


def _used(files: Sequence[str], verb_code: str) -> list[str]:
    """Return the code of the files' functions that the verb's code comes to use.

    Lua makes every function anew each time a script runs, so those that a
    verb does not call would cost it some microseconds a call.
    """
    used: list[str] = []
    words = set(_WORD.findall(verb_code))
    for name in reversed(files):
        text, asked_for = _read(name), set(words)
        parts: list[str] = []
        for part in reversed(_PART.findall(_code(text))):
            if words & set(_DEFINED.findall(part)):
                parts.insert(0, part)
                words |= set(_WORD.findall(part))
        is_later = any(section == "LATER" for section, _ in _header(text))
        used = (_made_later(name, parts, asked_for) if is_later else parts) + used
    return used


def _made_later(name: str, parts: Sequence[str], asked_for: set[str]) -> list[str]:
    """Return code that makes a file's functions when one of them is first called."""
    functions = [part for part in parts if part.startswith("local function ")]
    entries = [word for part in functions if (word := _DEFINED.findall(part)[0]) in asked_for]
    if len(functions) < len(entries) + 2:
        return list(parts)
    table = ", ".join(f"{entry} = {entry}" for entry in entries)
    return [
        *(part for part in parts if part not in functions),
        f"local {name}_made",
        f"local function make_{name}()",
        *functions,
        f"{name}_made = {{{table}}}\nreturn {name}_made\nend",
        *(
            f"local function {entry}(...) return ({name}_made or make_{name}()).{entry}(...) end"
            for entry in entries
        ),
    ]


def _bindings(table: str, names: Sequence[_Name]) -> Iterator[str]:
    for place, name in enumerate(names, 1):
        if name.is_rest and place < len(names):
            raise ValueError(f"{name.name}... is not the last of {table}")
        if name.is_rest:
            yield f"local first_{name.name} = {place}"
        elif name.is_number:
            yield f"local {name.name} = tonumber({table}[{place}])"
        else:
            yield f"local {name.name} = {table}[{place}]"


def _code(text: str) -> str:
    """Return a file without its comments' and blank lines."""
    lines = (line for line in text.splitlines() if line.strip())
    return "\n".join(line for line in lines if not line.strip().startswith("--"))
