"""The HTML kit: text that cannot break out, charts that say in words what they show, colours people can read."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

from curate.page import (
    PALETTE,
    Segment,
    build_curation,
    chart_png,
    format_number,
    format_share,
    highlight,
    pack_text,
    render_chart,
    segments,
    visible_text,
)
from curate.page.curation import LengthBin
from curate.page.curation_charts import curation_charts
from curate.page.document import HERE, SCRIPT
from curate.page.numbers import format_duration
from curate.selection.page import SelectionPageData, render_selection_page, selection_headline

DECISIONS: Mapping[str, list[Any]] = {
    "row_index": [0, 1, 2, 3, 4, 5],
    "row_id": ["a", "b", "c", "d", "e", "f"],
    "fate": ["selected", "selected", "not_picked", "held_out", "excluded", "excluded"],
    "reason": ["kmeans", "kmeans", "not_picked", "holdout", "too_long", "empty_output"],
    "detail": [None] * 6,
    "token_count": [10, 12, 25, 14, 40, 3],
    "cluster": [0, 1, 0, 0, 1, None],
    "x": [0.1, 0.2, 0.3, 0.4, 0.5, None],
    "y": [0.1, 0.2, 0.3, 0.4, 0.5, None],
}
TEXTS = {"a": "merge two lists", "b": "</script><script>alert(1)</script>", "c": "count words", "d": "held"}
COUNTS = {"pool": 6, "selected": 2, "held_out": 1, "excluded": 2, "not_picked": 1, "selected_tokens": 22}
DATA = SelectionPageData(
    "demo", {"strategy": "kmeans", "seed": 0}, COUNTS, DECISIONS, TEXTS, {"mean_cosine": 0.5}, ["A note."], ["curate"]
)


def test_invisible_and_direction_changing_characters_are_spelt_out() -> None:
    assert visible_text("a\u202eb\u0000c\u007f\ud800\t\n") == "a<U+202E>b\u2400c\u2421<U+D800>\t\n"


def test_a_text_beyond_the_limit_says_how_much_is_missing() -> None:
    assert visible_text("x" * 30, limit=10) == "xxxxxxxxxx\n[20 more characters not shown]"


def test_fenced_code_is_code_and_text_after_the_answer_is_trailing() -> None:
    text = "Here:\n```python\nx = 1\n```\nDone. More"
    assert segments(text, text.index("Done")) == [
        Segment("Here:\n```python\n"),
        Segment("x = 1\n", True, False, "python"),
        Segment("```\n"),
        Segment("Done. More", False, True),
    ]


def test_bare_code_is_code_and_prose_is_not() -> None:
    assert [s.code for s in segments("def f(x):\n    return x\n")] == [True]
    assert [s.code for s in segments("You can merge them with a loop.\nIt is for beginners.")] == [False]


def test_highlighted_code_is_escaped() -> None:
    assert str(highlight(Segment("x = '</pre><b>'", True))) == (
        'x = <span class="s">&#39;&lt;/pre&gt;&lt;b&gt;&#39;</span>'
    )


def test_a_very_long_line_stays_plain() -> None:
    assert str(highlight(Segment("x = 1" * 1000, True))) == "x = 1" * 1000


def test_packed_text_unpacks_to_itself() -> None:
    packed = pack_text("gr\u00fc\u00df dich </script>")
    assert zlib.decompress(base64.b64decode(packed), -15).decode() == "gr\u00fc\u00df dich </script>"


def test_numbers_have_a_true_minus_and_absence_is_a_dash_not_a_zero() -> None:
    assert [format_number(-0.5, 2), format_number(-0.0001, 2), format_number(None)] == ["\u22120.50", "0.00", "–"]
    assert [format_share(0.125), format_share(None)] == ["12.5%", "–"]
    assert [format_duration(s) for s in (48, 720, 12240, None)] == ["48 s", "12 min", "3.4 h", "–"]


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_reaches_4_5_to_1_and_series_3_to_1_on_every_ground(theme: int) -> None:
    grounds = [PALETTE[name][theme] for name in ("page", "surface", "raised")]
    texts = ["ink", "muted", "link", "good", "bad", "warn", "keyword", "string", "number", "comment", "function"]
    low = {n: min(_contrast(PALETTE[n][theme], g) for g in grounds) for n in texts}
    assert {n: round(c, 2) for n, c in low.items() if c < 4.5} == {}
    series = {f"s{i}": min(_contrast(PALETTE[f"s{i}"][theme], g) for g in grounds) for i in range(10)}
    assert {n: round(c, 2) for n, c in series.items() if c < 3} == {}


def test_a_view_counts_fates_reasons_lengths_and_clusters() -> None:
    view = build_curation("demo", DECISIONS, TEXTS)
    assert view.counts == {"excluded": 2, "held_out": 1, "not_picked": 1, "selected": 2}
    assert view.reasons == [("empty_output", 1), ("too_long", 1)]
    assert [(c.cluster, c.rows, c.picked, c.pool_share, c.picked_share) for c in view.clusters] == [
        (0, 2, 1, 2 / 3, 0.5),
        (1, 1, 1, 1 / 3, 0.5),
    ]
    assert (view.pool_rows, view.mapped_rows, view.picked_rows, len(view.points)) == (6, 5, 2, 5)


def test_the_last_length_bin_takes_everything_longer() -> None:
    counts = {**DECISIONS, "token_count": [10, 12, 25, 14, 9000, 3]}
    bins = build_curation("demo", counts, TEXTS).lengths
    assert sum(b.pool for b in bins) == 6
    assert bins[-1] == LengthBin(9000, 9500, 1, 0)


def test_every_chart_says_in_words_what_it_shows_and_has_a_table() -> None:
    charts = curation_charts(build_curation("demo", DECISIONS, TEXTS), "p")
    assert [chart.chart_id for chart in charts] == ["p-map", "p-lengths", "p-reasons"]
    assert charts[2].alternative == ("2 of 6 rows were left out; the most common reason is empty output (1).")
    assert [len(chart.table.rows) for chart in charts[::2]] == [2, 2]


def test_a_drawing_is_one_image_with_a_name_and_without_roles_inside() -> None:
    drawing = str(render_chart(curation_charts(build_curation("demo", DECISIONS, TEXTS), "p")[0]))
    assert drawing.count("role=") == 1
    assert 'role="img" aria-label="Map of the pool and the picks.' in drawing


def test_a_chart_for_documents_is_a_png() -> None:
    chart = curation_charts(build_curation("demo", DECISIONS, TEXTS), "p")[2]
    assert chart_png(chart, dark=True)[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_sampled_map_says_so() -> None:
    view = build_curation("demo", DECISIONS, TEXTS, shown_pool=1, shown_picks=1)
    assert curation_charts(view, "p")[0].caption.startswith("A sample: 1 of 3 other rows and 1 of 2 picks. ")


def test_the_selection_page_begins_with_what_was_picked() -> None:
    assert selection_headline(DATA) == (
        "2 of 6 rows picked by kmeans (22 tokens).",
        "2 rows were left out with a reason, 1 are held out for evaluation.",
    )


def test_the_same_selection_gives_the_same_bytes_and_rows_cannot_run() -> None:
    page = render_selection_page(DATA)
    assert page == render_selection_page(DATA)
    assert "<script>alert" not in page
    assert re.findall(r"<[^>]+ on[a-z]+=", page) == []
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page) == []


def test_a_selection_of_nothing_still_renders() -> None:
    empty: dict[str, list[Any]] = {name: [] for name in DECISIONS}
    page = render_selection_page(SelectionPageData("none", {"strategy": "first", "seed": 0}, {"pool": 0}, empty, {}))
    assert "0 of 0 rows picked by first." in page


def test_our_own_script_is_at_most_ten_thousand_bytes() -> None:
    assert (HERE / SCRIPT).stat().st_size <= 10_000


def test_the_policy_names_the_script_it_allows_by_digest() -> None:
    import hashlib

    page = render_selection_page(DATA)
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0]
    policy = policy.replace("&#39;", "'").replace("&#43;", "+")
    assert f"'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")


def test_chart_specifications_hold_no_address_but_the_schema() -> None:
    specs = [chart.spec for chart in curation_charts(build_curation("demo", DECISIONS, TEXTS), "p")]
    assert set(re.findall(r"https?://[^\"]*", json.dumps(specs))) == {specs[0]["$schema"]}


def test_a_row_lies_on_the_map_where_the_centre_of_its_cluster_lies() -> None:
    import numpy as np

    from curate.vectors.map_layout import lay_out

    centres = np.eye(3, dtype=np.float32)
    places = lay_out(centres[[2, 0, 1, 0]], centres)
    angles = 2 * np.pi * np.array([2, 0, 1, 0]) / 3
    assert np.allclose(places, np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=2e-3)
