"""The picture of who received how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pygal

from celery_ranch.demo.chart import style, without_scripts

__all__ = ["draw_shares"]

_COLORS = ("#c0392b", "#d9a441", "#2f6db5", "#1a7f5a")


def draw_shares(
    tenant: str, names: Sequence[str], shares: Mapping[str, Sequence[float]], path: Path
) -> None:
    """Write the chart of what tenants received, in multiples of an even share.

    Args:
        tenant: Of which kind they are.
        names: Of the tenants.
        shares: What each received, in the order of their names, by the way it was.
        path: The SVG.
    """
    last = len(shares) - 1
    colors = [*_COLORS[:last], _COLORS[-1]]
    chart = pygal.Bar(
        style=style(*colors),
        width=960,
        height=560,
        js=(),
        legend_at_bottom=True,
        # pygal forgets the height of a row that is not full.
        legend_at_bottom_columns=1 if len(shares) % 2 else 2,
        truncate_legend=-1,
        spacing=24,
        margin=24,
        value_formatter=lambda share: f"{share:.1f}",
        title=f"Worker time of each {tenant} while all of them had work waiting",
        y_title="multiples of an even share",
        x_title=tenant,
    )
    # The same data draw the same file: pygal would take a random name.
    chart.uuid = f"evenness-{tenant}"
    chart.add_xml_filter(without_scripts)
    chart.x_labels = list(names)
    for way, received in shares.items():
        chart.add(way, list(received))
    path.write_bytes(chart.render())
