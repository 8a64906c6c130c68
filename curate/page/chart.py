"""Charts: an Altair chart, a text that says the same, and the table behind it; drawn at build, alive on request."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from curate.page.palette import PALETTE, light

if TYPE_CHECKING:
    from markupsafe import Markup

DRAWN_WIDTH = 720
MAP_SCALE = 1.5
FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class ChartTable:
    """The numbers behind a chart: column heads and rows of cells as text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart for a page. `alternative` is what a reader who cannot see it needs to know, in a sentence or two.

    `spec` is a Vega-Lite specification without width (it fills its container). `as_image` draws the still as a PNG:
    for thousands of marks an SVG would be heavier than the rest of the page. `colours` gives that PNG its theme.
    """

    chart_id: str
    title: str
    alternative: str
    spec: dict[str, Any]
    table: ChartTable
    caption: str = ""
    as_image: bool = False
    legend: Sequence[tuple[str, str]] = field(default_factory=tuple)  # (css variable name, label)


def build_spec(chart: Any, height: int) -> dict[str, Any]:
    """The specification of an Altair chart in our theme, filling its container's width."""
    import altair

    themed = chart.properties(width="container", height=height).configure(**_theme())
    spec: dict[str, Any] = themed.to_dict()
    spec.pop("usermeta", None)
    spec["$schema"] = altair.SCHEMA_URL
    return spec


def _theme() -> dict[str, Any]:
    ink, muted, line = light("ink"), light("muted"), light("line")
    label = {"labelColor": muted, "titleColor": muted, "labelFontSize": 12, "titleFontSize": 12}
    return {
        "aria": False,
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            **label,
            "titleFontWeight": "normal",
            "domainColor": line,
            "tickColor": line,
            "gridColor": line,
            "gridOpacity": 0.8,
            "tickSize": 4,
            "labelPadding": 6,
            "titlePadding": 10,
        },
        "legend": {**label, "labelColor": ink, "titleFontWeight": "normal", "orient": "top", "symbolSize": 90},
        "header": {"labelColor": ink, "titleColor": ink},
        "title": {"color": ink},
        "autosize": {"type": "fit-x", "contains": "padding"},
    }


def _sized(spec: dict[str, Any]) -> dict[str, Any]:
    return {**spec, "width": DRAWN_WIDTH}


def render_chart(chart: Chart) -> Markup:
    """The still drawing: inline SVG whose colours follow the theme, or a PNG with a clear background."""
    import vl_convert
    from markupsafe import Markup, escape

    label = escape(f"{chart.title}. {chart.alternative}")
    if chart.as_image:
        png = vl_convert.vegalite_to_png(_sized(chart.spec), scale=MAP_SCALE)
        data = base64.b64encode(png).decode("ascii")
        return Markup('<img class="still" alt="{}" src="data:image/png;base64,{}">').format(label, data)
    svg = vl_convert.vegalite_to_svg(_sized(chart.spec))
    size = svg[svg.index("viewBox=") :].split('"')[1]
    body = svg[svg.index(">") + 1 : svg.rindex("</svg>")].replace(' role="graphics-object"', "")
    return Markup(
        '<svg class="still" xmlns="http://www.w3.org/2000/svg" viewBox="{}" role="img" aria-label="{}">{}</svg>'
    ).format(size, label, Markup(_plain_groups(body)))


def _plain_groups(body: str) -> str:
    import re

    return re.sub(r' aria-(?:roledescription|hidden)="[^"]*"| class="[^"]*"', "", body)


def chart_png(chart: Chart, scale: float = 2.0, dark: bool = False) -> bytes:
    """The chart as a PNG on the page's own background, for documents outside HTML."""
    import json

    import vl_convert

    text = json.dumps(_sized(chart.spec)).replace('"transparent"', f'"{light("surface")}"')
    if dark:
        for before, after in PALETTE.values():
            text = text.replace(f'"{before}"', f'"{after}"')
    png: bytes = vl_convert.vegalite_to_png(text, scale=scale)
    return png
