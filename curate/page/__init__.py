"""The HTML kit every page of ours is made with: one file, no network, light and dark, readable without a script."""

from curate.page.chart import Chart, ChartTable, chart_png, render_chart
from curate.page.curation import CurationView, build_curation
from curate.page.document import pack_text, render_document
from curate.page.numbers import format_count, format_duration, format_number, format_p, format_share
from curate.page.palette import PALETTE, series_colour
from curate.page.reports_index import write_index
from curate.page.source_text import Segment, highlight, segments, visible_text

__all__ = [
    "PALETTE",
    "Chart",
    "ChartTable",
    "CurationView",
    "Segment",
    "build_curation",
    "chart_png",
    "format_count",
    "format_duration",
    "format_number",
    "format_p",
    "format_share",
    "highlight",
    "pack_text",
    "render_chart",
    "render_document",
    "segments",
    "series_colour",
    "visible_text",
    "write_index",
]
