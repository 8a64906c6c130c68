"""From a template to one self-contained HTML document, with a content security policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from curate.page.chart import Chart, render_chart
from curate.page.curation import CurationView
from curate.page.numbers import ABSENT, format_count, format_duration, format_number, format_p, format_share
from curate.page.palette import PALETTE, palette_css
from curate.page.source_text import highlight, visible_text

HERE = Path(__file__).parent
SCRIPT = "page.js"
STYLE = "page.css"


def pack_text(text: str) -> str:
    """`text` as base64 of raw deflate (RFC 1951): what `DecompressionStream("deflate-raw")` reads in a browser."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    return base64.b64encode(packer.compress(text.encode("utf-8")) + packer.flush()).decode("ascii")


def build_environment(folders: Sequence[Path]) -> jinja2.Environment:
    """A Jinja2 environment over our templates and `folders`: everything escaped, every undefined name an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*map(str, folders), str(HERE)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.filters |= {
        "number": format_number,
        "p_value": format_p,
        "count": format_count,
        "share": format_share,
        "duration": format_duration,
        "visible": visible_text,
        "highlight": highlight,
        "drawing": render_chart,
    }
    environment.globals |= {"absent": ABSENT, "coverage_rows": coverage_rows}
    return environment


def coverage_rows(view: CurationView) -> list[tuple[str, str]]:
    """What was measured about a selection's coverage, named and rounded for a table."""
    return [(name.replace("_", " ").capitalize(), format_number(value)) for name, value in view.coverage.items()]


@cache
def _vega_code() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script (BSD-3-Clause), from the package vl-convert-python."""
    code: str = vl_convert.javascript_bundle("window.vegaEmbed=vegaEmbed;")
    return code


def _source_hash(code: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode('utf-8')).digest()).decode('ascii')}'"


def render_document(
    template: str,
    context: Mapping[str, Any],
    *,
    folders: Sequence[Path] = (),
    charts: Sequence[Chart] = (),
    live_source: str = "'none'",
) -> str:
    """The finished page: `template` (which extends `base.html`) filled in; `charts` are those it can bring alive.

    Chart library and specifications are stored once, compressed, and unpacked when a chart comes into view. Only our
    own script and that library may run, named by digest; nothing may be fetched, unless `live_source` allows it.
    """
    script = (HERE / SCRIPT).read_text(encoding="utf-8")
    vega = _vega_code() if charts else ""
    allowed = " ".join(_source_hash(code) for code in (script, vega) if code)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        f"connect-src {live_source}; base-uri 'none'; form-action 'none'"
    )
    specs = {chart.chart_id: chart.spec for chart in charts}
    palette = {pair[0]: f"--{name}" for name, pair in PALETTE.items()}
    page = build_environment(folders).get_template(template)
    return page.render(
        **context,
        kit={
            "policy": policy,
            "style": Markup(palette_css() + (HERE / STYLE).read_text(encoding="utf-8")),
            "script": Markup(script),
            "vega": Markup(pack_text(vega)) if charts else None,
            "specs": Markup(pack_text(json.dumps(specs, separators=(",", ":"), sort_keys=True))) if charts else None,
            "palette": Markup(json.dumps(palette, separators=(",", ":"))),
        },
    )
