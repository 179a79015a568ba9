"""Tables in Markdown, and where they go in a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["markdown_table", "put_into_page"]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; all columns but the first are aligned to the right.

    Example:
        >>> markdown_table(["who", "jobs"], [["a", "1"]])
        ['| who | jobs |', '|---|--:|', '| a | 1 |']
    """
    lines = [f"| {' | '.join(head)} |", "|---" + "|--:" * (len(head) - 1) + "|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def put_into_page(page: Path, name: str, lines: Sequence[str]) -> None:
    """Put lines between the comments ``<!-- name -->`` and ``<!-- /name -->`` of a page.

    Raises:
        ValueError: The page does not have both.
    """
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    before, begun, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise ValueError(f"{page} has no place for {name}")
    page.write_text(before + begin + "\n".join(lines) + "\n" + end + after, encoding="utf-8")
