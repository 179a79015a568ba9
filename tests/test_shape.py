"""The project's shape: who may import whom, what each file has, where logic may not be."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
RANCH = "celery_ranch"

_BESIDE = ("publishing", "observing")

#: What each part may import of the project, besides itself and what is under it.
#: A part is known by the longest of these names that its module's begins with.
MAY_IMPORT = {
    "errors": set[str](),
    # It checks a constant key and a limit with the functions that the rule has for it.
    "config": {"errors", "scheduling"},
    "scheduling": {"errors"},
    # It runs by its path, without the project on its path.
    "engines.keeper": set[str](),
    "engines": {"errors", "config", "scheduling"},
    # What a stored message is made of: publishing packs it, workers unpack it.
    "envelope": {"errors", "config", "scheduling"},
    # What an application's broker and result backend are as stores.
    "offers": {"errors", "config", "scheduling", "engines"},
    "ranch": {"errors", "config", "scheduling", "engines", "envelope", "offers"},
    "publishing": {"errors", "config", "scheduling", "engines", "envelope", "ranch"},
    "worker": {"errors", "config", "scheduling", "engines", "envelope", "ranch"},
    "observing": {"errors", "config", "scheduling", "engines", "envelope", "ranch"},
    # What tasks have for keys.
    "clients": {*("errors", "config", "scheduling", "engines", "envelope", "ranch"), *_BESIDE},
    "simulating": {"errors", "scheduling", "engines"},
}
#: These stand above all of it.
MAY_IMPORT_ALL = {"", "cli", "demo", "task", "utils", "__main__"}

ONLY_STANDARD_LIBRARY = {"scheduling", "engines.keeper", "errors"}

NAMES_WITHOUT_A_CONCEPT = {"helpers", "helper", "common", "base", "manager", "misc", "util"}


def modules() -> dict[str, Path]:
    """Every module of the project, by its full name."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
LUA = sorted(SRC.rglob("*.lua"))

every_module = pytest.mark.parametrize("name", MODULES)
every_lua_file = pytest.mark.parametrize("path", LUA, ids=lambda path: path.stem)


def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def part(name: str) -> str:
    """The part of the project that a module of it belongs to; "" for the package itself."""
    inner = name.removeprefix(RANCH).removeprefix(".")
    parts = {*MAY_IMPORT, *MAY_IMPORT_ALL}
    while inner and inner not in parts:
        inner = inner.rpartition(".")[0]
    if not inner and name != RANCH:
        pytest.fail(f"{name} belongs to no part that {Path(__file__).name} knows")
    return inner


def imported(name: str) -> Iterator[str]:
    """The full names of what a module imports when it runs, at its top or later."""
    for node in _outside_type_checking(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def _outside_type_checking(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, without what only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _outside_type_checking(child)


@every_module
def test_imports_point_downwards_only(name: str) -> None:
    if not name.startswith(RANCH) or part(name) in MAY_IMPORT_ALL:
        return
    here = part(name)
    for other in imported(name):
        if other.split(".")[0] != RANCH:
            continue
        there = part(other)
        allowed = there == here or there in MAY_IMPORT[here] or there.startswith(f"{here}.")
        assert allowed, f"{name} imports {other}: {here} may not import {there or RANCH}"


@every_module
def test_what_must_stand_alone_imports_the_standard_library_only(name: str) -> None:
    if not name.startswith(RANCH) or part(name) not in ONLY_STANDARD_LIBRARY:
        return
    foreign = {other.split(".")[0] for other in imported(name)} - sys.stdlib_module_names
    assert foreign <= {RANCH}


@pytest.mark.parametrize("forbidden", ["threading", "time", "asyncio", "socket", "random"])
def test_the_rule_has_no_clock_no_threads_and_no_chance(forbidden: str) -> None:
    for name in MODULES:
        if name.startswith(f"{RANCH}.scheduling"):
            assert forbidden not in {other.split(".")[0] for other in imported(name)}


def test_only_the_engines_and_those_who_read_the_store_import_redis_at_import_time() -> None:
    for name in MODULES:
        if name.startswith(RANCH) and part(name) in {"", "config", "ranch", "publishing", "task"}:
            at_top = [n for n in tree(name).body if isinstance(n, (ast.Import, ast.ImportFrom))]
            names = [n.module if isinstance(n, ast.ImportFrom) else n.names[0].name for n in at_top]
            assert not any(str(n).split(".")[0] == "redis" for n in names), name


@every_module
def test_every_module_opens_with_a_sentence(name: str) -> None:
    docstring = ast.get_docstring(tree(name))
    assert docstring, f"{name} has no docstring"
    assert docstring.split("\n\n")[0].rstrip().endswith((".", ":", "?")), docstring


@every_module
def test_no_module_has_a_name_without_a_concept(name: str) -> None:
    assert not NAMES_WITHOUT_A_CONCEPT & set(name.split("."))


@every_module
def test_no_module_is_longer_than_400_lines(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= 400


def _only_forwards(body: list[ast.stmt], *, may_define: bool) -> bool:
    """Whether statements are imports, names and docstrings; perhaps `__getattr__` too."""
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if may_define and isinstance(node, ast.FunctionDef) and node.name in LAZY_FORWARDING:
            continue
        return False
    return True


#: How a package forwards a name without importing its module first (PEP 562).
LAZY_FORWARDING = {"__getattr__", "__dir__"}


@pytest.mark.parametrize(
    "name",
    [name for name in MODULES if name == RANCH or name.split(".")[0] == "celery_lru_priority"],
)
def test_the_public_packages_forward_and_hold_no_logic(name: str) -> None:
    assert _only_forwards(tree(name).body, may_define=True)


PUBLIC_PACKAGES = [name for name in (RANCH, "celery_lru_priority") if name in MODULES]


@pytest.mark.parametrize("name", PUBLIC_PACKAGES)
def test_the_public_packages_list_their_names(name: str) -> None:
    assert importlib.import_module(name).__all__


@every_module
def test_every_module_says_what_is_public_and_has_it(name: str) -> None:
    if MODULES[name].name in {"__init__.py", "__main__.py"} and "__all__" not in ast.unparse(
        tree(name)
    ):
        return
    module = importlib.import_module(name)
    public = module.__all__
    assert len(set(public)) == len(public)
    missing = [one for one in public if not hasattr(module, one)]
    assert not missing, f"{name}.__all__ has {missing}"


@every_lua_file
def test_every_lua_file_opens_with_its_interface(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    header = []
    for line in lines:
        if not line.startswith("--"):
            break
        header.append(line)
    assert re.match(rf"-- {re.escape(path.stem)}: \S.*", header[0]), header[0]
    sections = [m[1] for line in header if (m := re.match(r"-- (KEYS|ARGV|GIVES)\b", line))]
    assert sections == ["KEYS", "ARGV", "GIVES"], f"{path.name} has {sections}"


@every_lua_file
def test_no_lua_file_searches_where_it_should_look_up(path: Path) -> None:
    code = [line.split("--")[0] for line in path.read_text(encoding="utf-8").splitlines()]
    for forbidden in ("'KEYS'", '"KEYS"', "LREM", "LPOS", "FLUSH", "tostring"):
        assert not [line for line in code if forbidden in line], forbidden


def test_both_packages_are_marked_as_typed() -> None:
    for package in (RANCH, "celery_lru_priority"):
        if package in MODULES:
            assert (SRC / package / "py.typed").exists(), package
