"""The picture of both runs, as an SVG that is legible on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import pygal
from pygal.style import Style

from celery_ranch.demo.report import by_tenant
from celery_ranch.demo.workload import FLOODER, TRICKLE_SECONDS, TaskWait

__all__ = ["draw", "style", "without_scripts"]


def style(*colors: str) -> Style:
    """Return an opaque white card: pages of both kinds show it as it is.

    Args:
        colors: Of the series, in their order.
    """
    return Style(
        background="#ffffff",
        plot_background="#ffffff",
        foreground="#24292f",
        foreground_strong="#24292f",
        foreground_subtle="#57606a",
        guide_stroke_color="#d0d7de",
        major_guide_stroke_color="#d0d7de",
        opacity="1",
        opacity_hover="1",
        colors=colors,
        font_family="Helvetica, Arial, sans-serif",
        title_font_size=17,
        legend_font_size=16,
        label_font_size=15,
        major_label_font_size=15,
        value_font_size=14,
        value_colors=("#24292f",) * len(colors),
    )


def draw(plain: Sequence[TaskWait], fair: Sequence[TaskWait], path: Path) -> None:
    """Write the chart of each tenant's p95 wait, plain beside fair."""
    before, after = by_tenant(plain), by_tenant(fair)
    chart = pygal.Bar(
        style=style("#c0392b", "#1a7f5a"),
        width=960,
        height=480,
        js=(),
        legend_at_bottom=True,
        legend_at_bottom_columns=2,
        print_values=True,
        print_values_position="top",
        spacing=24,
        margin=24,
        range=(0.0, 1.1 * max(one.p95_seconds for one in (*before.values(), *after.values()))),
        value_formatter=lambda seconds: f"{seconds:.2f}",
        title="One tenant floods the queue: how long everybody's tasks wait",
        y_title="p95 wait (seconds)",
        x_title=(
            f"tenant ({FLOODER} sends {before[FLOODER].tasks} tasks at once, "
            f"the others one every {TRICKLE_SECONDS:g} s)"
        ),
    )
    # The same data draw the same file: pygal would take a random name.
    chart.uuid = "waits"
    chart.add_xml_filter(without_scripts)
    chart.x_labels = list(before)
    chart.add("plain Celery", [one.p95_seconds for one in before.values()])
    chart.add("celery-ranch", [after[tenant].p95_seconds for tenant in before])
    path.write_bytes(chart.render())


def without_scripts(root: Element) -> Element:
    """Return the picture without what would only run in a page of its own."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "script":
                parent.remove(child)
    return root
