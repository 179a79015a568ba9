"""The documents lead where they say, and their tables are those of the code."""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import fields
from enum import Enum
from pathlib import Path

import pytest

from celery_ranch import ViolationKind, errors
from celery_ranch.config import Settings
from celery_ranch.observing.metrics.catalogue import METRICS
from tests.acceptance.pages import blocks

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLES = sorted((ROOT / "examples").glob("*/README.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *DOCS.rglob("*.md"),
    *EXAMPLES,
]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def targets(page: Path) -> list[str]:
    """Return what a page links to or shows, without other sites."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Return what can stand after a page's ``#``, as GitHub makes it from headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(page: Path) -> list[list[str]]:
    """Return the cells of a page's tables whose first is a name in backquotes."""
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@every_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in targets(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


@every_page
def test_every_path_of_this_project_that_is_named_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:tests|docs|benchmarks|examples|monitoring)/[\w./-]*)`", page.read_text()
    )
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


@every_page
def test_every_python_block_can_be_parsed(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python":
            ast.parse(block.code)


def test_every_page_is_in_the_index() -> None:
    index = {(DOCS / target).resolve() for target in targets(DOCS / "README.md")}
    own = {DOCS / "README.md", DOCS / "index.md", DOCS / "plan.md"}
    assert {*DOCS.rglob("*.md"), *EXAMPLES} - own <= index


def test_the_index_that_github_shows_is_the_site_s_navigation() -> None:
    trees = re.findall(r"^```{toctree}\n(.*?)^```$", (DOCS / "index.md").read_text(), re.S | re.M)
    lines = [line for tree in trees for line in tree.split() if "/" in line]
    pages = [ROOT / line[1:] if line[0] == "/" else DOCS / line for line in lines]
    index = [(DOCS / target).resolve() for target in targets(DOCS / "README.md")]
    assert index == [page.with_suffix(".md") for page in pages]


def shown(default: object) -> str:
    """Return a default as it is written in code."""
    if isinstance(default, Enum):
        return f"{type(default).__name__}.{default.name}"
    return repr(default)


def test_the_table_of_settings_is_that_of_the_code() -> None:
    table = rows(DOCS / "reference" / "settings.md")
    settings, defaults = fields(Settings), Settings()
    assert [(name.strip("`"), default.strip("`"), told) for name, _, default, told in table] == [
        (each.name, shown(getattr(defaults, each.name)), each.metadata["limits"].allowed)
        for each in settings
    ]


def test_the_unit_of_a_setting_in_seconds_is_told() -> None:
    for name, unit, _, allowed in rows(DOCS / "reference" / "settings.md"):
        is_in_seconds = name.strip("`").endswith(("_seconds", "_ttl")) or "of seconds" in allowed
        assert (unit == "seconds") is is_in_seconds, name


def test_every_setting_is_explained() -> None:
    text = (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")
    assert [s.name for s in fields(Settings) if f"\n**`{s.name}`**" not in text] == []


def test_the_table_of_metrics_is_their_catalogue() -> None:
    table = [row for row in rows(DOCS / "reference" / "metrics.md") if len(row) == 5]
    assert table == [
        [f"`{each.name}`", each.kind, each.unit, ", ".join(each.labels), each.meaning]
        for each in METRICS
    ]


def test_every_kind_of_violation_is_in_their_table_in_the_order_of_the_code() -> None:
    table = rows(DOCS / "reference" / "violations.md")
    assert [row[0].strip("`") for row in table] == [kind.value for kind in ViolationKind]
    assert all(len(row) == 3 for row in table)


def test_the_tree_of_errors_is_that_of_the_code() -> None:
    (tree,) = blocks((DOCS / "reference" / "errors.md").read_text(encoding="utf-8"))
    assert textwrap.indent(tree.code, "    ") in str(errors.__doc__)


def test_every_error_is_in_the_table_of_errors() -> None:
    table = rows(DOCS / "reference" / "errors.md")
    assert sorted(row[0].strip("`") for row in table) == sorted(errors.__all__)
    assert all(len(row) == 3 for row in table)


def test_the_table_of_versions_is_that_of_the_matrix() -> None:
    sets = re.findall(
        r'"(celery-[^"]+)": Versions\("([^"]+)", "([^"]+)", "([^"]+)"',
        (ROOT / "noxfile.py").read_text(encoding="utf-8"),
    )
    table = rows(DOCS / "reference" / "versions.md")

    assert sets
    assert [[f"`{name}`", *numbers] for name, *numbers in sets] == table
