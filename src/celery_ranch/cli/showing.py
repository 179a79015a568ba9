"""How figures look to people: tables, counts, times."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celery_ranch.cli.notation import visible

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.table import Table
    from rich.text import Text

__all__ = [
    "NOTHING",
    "WIDE",
    "Words",
    "ago",
    "count",
    "moment",
    "number",
    "part",
    "per_second",
    "seconds",
    "table",
]

#: From how many columns on a screen has room for what is of second importance.
WIDE = 120

#: Where nothing is known.
NOTHING = "-"

_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (0.001, "ms"))


@dataclass(frozen=True, slots=True)
class Words:
    """The heading of a column of texts."""

    name: str
    is_whole: bool = False
    """Whether its cells are never folded nor cut: they are to be copied."""
    is_cut: bool = False
    """Whether its cells are cut where there is no room, and not folded."""


def table(title: str, columns: Sequence[str | Words], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table.

    Args:
        title: What stands above it; none if empty.
        columns: The headings; what is no `Words` is a column of figures.
        rows: The cells, which are shown as they are.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(
        title=Text(title, style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    heads = [each if isinstance(each, Words) else Words(each, is_whole=True) for each in columns]
    for head, each in zip(heads, columns, strict=True):
        justify: JustifyMethod = "left" if head is each else "right"
        made.add_column(head.name, justify=justify, no_wrap=head.is_whole, overflow="fold")
    for row in rows:
        made.add_row(*(_cell(*each) for each in zip(row, heads, strict=False)))
    return made


def _cell(text: str, head: Words) -> Text:
    from rich.text import Text

    # Rich narrows those columns first that it may fold: so what is cut says so itself.
    return Text(
        visible(text),
        no_wrap=True if head.is_cut else None,
        overflow="ellipsis" if head.is_cut else None,
    )


def count(value: int | None) -> str:
    """Return how many.

    Example:
        >>> count(1234567), count(None)
        ('1,234,567', '-')
    """
    return NOTHING if value is None else f"{value:,}"


def number(value: float | None) -> str:
    """Return a figure with at most three digits that count, or as a whole number.

    Example:
        >>> number(0.12345), number(2.0), number(12345.6), number(math.inf)
        ('0.123', '2', '12,346', 'no limit')
    """
    if value is None:
        return NOTHING
    if math.isinf(value):
        return "no limit"
    return f"{value:,.0f}" if abs(value) >= 1_000 or value == int(value) else f"{value:.3g}"


def seconds(value: float | None) -> str:
    """Return how long.

    Example:
        >>> seconds(0.0123), seconds(2.5), seconds(90), seconds(200_000), seconds(0)
        ('12 ms', '2.5 s', '1.5 min', '2.3 d', '0 s')
    """
    if value is None:
        return NOTHING
    for size, unit in _UNITS:
        if abs(value) >= size:
            figure = value / size
            return f"{figure:.0f} {unit}" if figure >= 10 else f"{figure:.2g} {unit}"
    return "0 s" if value == 0 else "<1 ms"


def ago(value: float | None) -> str:
    """Return how long ago.

    Example:
        >>> ago(30), ago(None)
        ('30 s ago', '-')
    """
    return NOTHING if value is None else f"{seconds(max(0.0, value))} ago"


def moment(at_us: int) -> str:
    """Return a time of the store, by the clock and the zone of who reads."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_us / 1_000_000))


def per_second(value: float | None) -> str:
    """Return how often, in a second or in a minute.

    Example:
        >>> per_second(12.0), per_second(0.05), per_second(0.0)
        ('12/s', '3/min', '0/s')
    """
    if value is None:
        return NOTHING
    return f"{number(value * 60)}/min" if 0 < value < 0.5 else f"{number(value)}/s"


def part(value: float | None) -> str:
    """Return a part of a whole.

    Example:
        >>> part(0.254), part(0.004), part(None)
        ('25 %', '0.4 %', '-')
    """
    if value is None:
        return NOTHING
    return f"{value * 100:.1f} %" if 0 < value < 0.01 else f"{value * 100:.0f} %"
