"""The loader that makes a verb's Lua file a script Redis can run by its SHA.

A file's header is its interface, and this is the only reader of it. Under
``KEYS`` and ``ARGV`` each line begins with a name; the names become locals, in
Lua (`num` ones as numbers) and in `Script.command`. A last name that ends in
``...`` stands for any number of values: in Lua ``first_name`` is the place of
the first one. ``NEEDS`` names files of functions that are put in front, each
once, after what they themselves need. ``LATER`` in such a file's header names
functions that are for what is not every day's, or says it of all if it names
none. A verb that calls such a function often says so under ``OFTEN``.
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
_CONSTANT = re.compile(r"^local ([A-Z_]+|first_\w+) = ('[^'\n]*'|\d+)$\n", re.MULTILINE)
_WORD = re.compile(r"\w+")
_CALL = re.compile(r"(?<![\w.])(\w+)\(")
_SECTION = re.compile(r"^-- (NEEDS|OFTEN|LATER|KEYS|ARGV|GIVES)\b *(.*)$")
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
    code = "\n".join([*parts, *_with_functions(text)])
    # Servers keep every byte of it.
    source = _without_constants(re.sub(r"(?m)^ +", "", code)).encode()
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
    for name in _listed(text, "NEEDS"):
        _needed(_read(name), found)
        if name not in found:
            found.append(name)
    return found


def _listed(text: str, section: str) -> list[str]:
    """Return the names that a section of the header lists."""
    lines = (line for part, line in _header(text) if part == section)
    return [name for line in lines for name in re.findall(r"[a-z_]+", line)]


@dataclass(frozen=True, slots=True)
class _File:
    """A file of functions, as far as a verb comes to use it."""

    name: str
    at_once: tuple[str, ...]
    """The code that is run whenever the script is."""
    later: tuple[str, ...]
    """Functions that are made when one of them is called, and what they alone use."""

    @property
    def made_later(self) -> list[str]:
        """The names of the functions that are."""
        functions = (part for part in self.later if part.startswith("local function "))
        return sorted(_DEFINED.findall(part)[0] for part in functions)


def _with_functions(verb: str) -> Iterator[str]:
    """Yield a verb's code, after the files' functions that it comes to use.

    Lua makes every function anew each time a script runs, so those that a
    verb does not call would cost it some microseconds a call. For the same
    reason functions that are for LATER, but for those that the verb calls OFTEN,
    and what they alone use, are made no sooner than one of them is called.
    """
    verb_code, files = _code(verb), _files(verb)
    if not any(file.later for file in files):
        yield from (part for file in files for part in file.at_once)
        yield verb_code
        return
    calls = {name: f"later().{file.name}().{name}" for file in files for name in file.made_later}
    yield "local later"
    for file in files:
        yield from (_calling(part, calls) for part in file.at_once)
    yield from _made_later(files)
    yield _calling(verb_code, calls)


def _files(verb: str) -> list[_File]:
    """Return of the files of functions what a verb comes to use."""
    files: list[_File] = []
    words = set(_WORD.findall(_code(verb)))
    everyday, often = set(words), set(_listed(verb, "OFTEN"))
    for name in reversed(_needed(verb, [])):
        text = _read(name)
        is_later = any(part == "LATER" for part, _ in _header(text))
        rare = set(_listed(text, "LATER"))
        at_once, later = list[str](), list[str]()
        for part in reversed(_PART.findall(_code(text))):
            defined, used = set(_DEFINED.findall(part)), set(_WORD.findall(part))
            if not words & defined:
                continue
            words |= used
            is_seldom = is_later and (not rare or rare & defined) and not often & defined
            if is_seldom or not everyday & defined:
                later.insert(0, part)
            else:
                at_once.insert(0, part)
                everyday |= used
        files.insert(0, _File(name, tuple(at_once), tuple(later)))
    return files


def _made_later(files: Sequence[_File]) -> Iterator[str]:
    """Yield code that makes files' functions, each when one of its functions is first called.

    All of it is in one function more, because there are many files, and
    making functions is what is to be saved.
    """
    yield "local made_later\nlater = function()\nif made_later then return made_later end"
    calls: dict[str, str] = {}
    for file in files:
        if file.later:
            made, table = f"{file.name}_made", ", ".join(f"{n} = {n}" for n in file.made_later)
            yield f"local {made}\nlocal function make_{file.name}()"
            yield f"if {made} then return {made} end"
            yield from (_calling(part, calls) for part in file.later)
            yield f"{made} = {{{table}}}\nreturn {made}\nend"
            calls |= {name: f"make_{file.name}().{name}" for name in file.made_later}
    table = ", ".join(f"{file.name} = make_{file.name}" for file in files if file.later)
    yield f"made_later = {{{table}}}\nreturn made_later\nend"


def _calling(code: str, calls: Mapping[str, str]) -> str:
    """Return code that calls functions by what they are called there."""
    return _CALL.sub(lambda found: calls.get(found[1], found[1]) + "(", code)


def _without_constants(code: str) -> str:
    """Return code with the values of constants in their place.

    Lua looks for each local that a function uses of another, whenever it makes one.
    """
    values = dict(_CONSTANT.findall(code))
    return _WORD.sub(lambda found: values.get(found[0], found[0]), _CONSTANT.sub("", code))


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
