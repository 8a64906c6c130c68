"""Charts: an Altair chart, a text that says the same, and the table behind it; drawn at build, alive on request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import altair
import vl_convert
from altair.utils.schemapi import debug_mode
from markupsafe import Markup, escape

from curate.page.palette import PALETTE, light

DRAWN_WIDTH = 720
FONT_SIZE = 12
MEASURED_FONT_SIZE = 14.25
FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"
_CIRCLE = (
    r'<path transform="translate\([-\d.]+,[-\d.]+\)" d="M{radius},0A[^"]*" fill="{fill}" stroke-width="2" '
    r'opacity="{opacity}"/>'
)
_CIRCLES = re.compile(
    _CIRCLE.format(radius=r"(?P<radius>[\d.]+)", fill='(?P<fill>[^"]+)', opacity=r"(?P<opacity>[\d.]+)")
    + "(?:"
    + _CIRCLE.format(radius="(?P=radius)", fill="(?P=fill)", opacity="(?P=opacity)")
    + ")*"
)


@dataclass(frozen=True)
class ChartTable:
    """The numbers behind a chart: column heads and rows of cells as text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart for a page. `alternative` is what a reader who cannot see it needs to know, in a sentence or two.

    `spec` is a Vega-Lite specification without width (it fills its container). `many_marks` brings it alive on a
    canvas. `legend` is written above the drawing: (name of a palette colour, label).
    """

    chart_id: str
    title: str
    alternative: str
    spec: dict[str, Any]
    table: ChartTable
    caption: str = ""
    many_marks: bool = False
    legend: Sequence[tuple[str, str]] = ()


@contextmanager
def unchecked() -> Iterator[None]:
    """Charts built in the block are not checked against Vega-Lite's schema, which takes longer than drawing them.

    The tests check the specification of every kind of chart instead.
    """
    with debug_mode(False):
        yield


def build_spec(chart: Any, height: int) -> dict[str, Any]:
    """The specification of an Altair chart in our theme, filling its container's width."""
    themed = chart.properties(width="container", height=height).configure(**_theme())
    spec: dict[str, Any] = themed.to_dict(validate=False)
    spec.pop("usermeta", None)
    spec["$schema"] = altair.SCHEMA_URL
    return spec


def _theme() -> dict[str, Any]:
    ink, muted, line = light("ink"), light("muted"), light("line")
    label = {"labelColor": muted, "titleColor": muted, "labelFontSize": FONT_SIZE, "titleFontSize": FONT_SIZE}
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
    """At a fixed width, its text measured larger than it is shown: Vega measures here with a font like Arial, and in a
    wider one names would be cut off at the edge and run into each other in legends."""
    config = dict(spec["config"])
    for part in ("axis", "legend"):
        config[part] = config[part] | {"labelFontSize": MEASURED_FONT_SIZE, "titleFontSize": MEASURED_FONT_SIZE}
    return {**spec, "width": DRAWN_WIDTH, "config": config}


def render_chart(chart: Chart) -> Markup:
    """The still drawing: inline SVG, drawn by Vega at build, whose colours follow the page's theme."""
    svg = vl_convert.vegalite_to_svg(_sized(chart.spec))
    view_box = svg[svg.index("viewBox=") :].split('"')[1]
    body = svg[svg.index(">") + 1 : svg.rindex("</svg>")]
    body = body.replace(f'font-size="{MEASURED_FONT_SIZE}px"', f'font-size="{FONT_SIZE}px"')
    return Markup(
        '<svg class="still" xmlns="http://www.w3.org/2000/svg" viewBox="{}" role="img" aria-label="{}">{}</svg>'
    ).format(view_box, escape(f"{chart.title}. {chart.alternative}"), Markup(_compact(body, chart.chart_id)))


def _compact(body: str, chart_id: str) -> str:
    """Vega's drawing without what the page does not need: roles, classes, digits no screen shows, ids of other charts.

    Neighbouring circles of one look become one path of dots: a map of 4,000 rows shrinks from 700 kB to 45 kB.
    """
    body = re.sub(r' (?:role|class|aria-[a-z]+|pointer-events)="[^"]*"', "", body)
    ids = list(dict.fromkeys(re.findall(r' id="(\w+)"', body)))  # Vega numbers them through the life of the process
    for place, name in enumerate(ids):
        body = re.sub(rf'(id="|url\(#){name}(?=["\)])', rf"\g<1>{chart_id}-{place}", body)
    body = re.sub(r'(?<= )(?:d|transform|[xy][12]?|width|height)="[^"]*"', _round_attribute, body)
    return _CIRCLES.sub(_dots, body)


def _round_attribute(attribute: re.Match[str]) -> str:
    return re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number.group()):.1f}", attribute.group())


def _dots(circles: re.Match[str]) -> str:
    fill, opacity = circles.group("fill"), circles.group("opacity")
    radius = float(circles.group("radius"))
    places = re.findall(r"translate\(([-\d.]+),([-\d.]+)\)", circles.group())
    dots = "".join(f"M{x} {y}h0" for x, y in places)
    return (
        f'<path d="{dots}" stroke="{fill}" stroke-width="{2 * radius:.1f}" stroke-linecap="round" '
        f'stroke-opacity="{opacity}"/>'
    )


def chart_png(chart: Chart, scale: float = 2.0, dark: bool = False) -> bytes:
    """The chart as a PNG on the page's own background, for documents outside HTML."""
    text = json.dumps(_sized(chart.spec)).replace('"transparent"', f'"{light("surface")}"')
    if dark:
        for before, after in PALETTE.values():
            text = text.replace(f'"{before}"', f'"{after}"')
    png: bytes = vl_convert.vegalite_to_png(text, scale=scale)
    return png
