"""The report page as text: order, escaping, size, sameness; browser behaviour is in test_browser_report."""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode
from dataclasses import replace

import pytest

from curate.errors import GateError
from evaluate_suite.reporting.charts import gain_chart, loss_chart, loss_values
from evaluate_suite.reporting.page import (
    STANDING,
    output_note,
    render_report_page,
    report_charts,
    reproduce_block,
    run_columns,
)
from evaluate_suite.reporting.recipe import check_gates, generation_lines
from evaluate_suite.reporting.record import Output, ReportRecord
from tests.evaluate_suite.reporting.report_factory import make_report


@pytest.fixture(scope="module")
def data() -> ReportRecord:
    return make_report(3, 24, hostile=True)


@pytest.fixture(scope="module")
def page(data: ReportRecord) -> str:
    return render_report_page(data)


def test_the_parts_stand_in_the_order_a_reader_asks(page: str) -> None:
    assert re.findall(r'<section class="part" id="([\w-]+)"', page) == [
        "runs", "training", "curation", "rows", "generations-part", "statistics", "made",
    ]  # fmt: skip
    assert re.findall(r"<h1>(.*?)</h1>", page) == [
        "kmeans beats random by 0.030 nats per token on 180 held-out rows (95% interval 0.010 to 0.050)."
    ]


def test_the_same_data_gives_the_same_bytes(data: ReportRecord, page: str) -> None:
    assert render_report_page(data) == page


def test_nothing_a_model_writes_becomes_markup(page: str) -> None:
    outside = re.sub(r"<script[^>]*>.*?</script>", "", page.split("<body>")[1], flags=re.DOTALL)
    assert "owned'&lt;/script&gt;" in page.replace("&#39;", "'")
    assert re.findall(r"<(?:script|style|img|iframe)\b", outside) == []
    assert re.findall(r"<[^>]+ on[a-z]+=", outside) == []
    assert [c for c in ("\u202e", "\u2066", "\u0000", "\ud800") if c in page] == []


def test_a_template_expression_in_a_generation_stays_text(page: str) -> None:
    assert "{{ 7*7 }}" in page


def test_twenty_prompts_stand_in_the_page_and_the_rest_are_packed_once(data: ReportRecord, page: str) -> None:
    packed = re.findall(r'<script type="text/plain" id="generations">([^<]*)<', page)[0]
    record = json.loads(zlib.decompress(b64decode(packed), -15))
    assert len(re.findall(r'<article class="prompt"', page)) == STANDING
    assert ["prompt" in entry for entry in record["prompts"]] == [False] * STANDING + [True] * 4
    assert record["models"] == ["base", *(run.name for run in data.runs)]


def test_an_answer_without_a_word_says_so() -> None:
    empty, blank = (
        Output(model="base", text=text, answer_end=None, stop_reason="max_new_tokens", new_tokens=12, scores={})
        for text in ("", "\n \n")
    )
    assert [output_note(each) for each in (empty, blank)] == [
        "cut at the limit, 12 tokens, nothing written", "cut at the limit, 12 tokens, nothing but white space",
    ]  # fmt: skip


def test_a_missing_number_is_a_dash_and_sorts_as_nothing(page: str) -> None:
    row = re.findall(r'<th scope="row" data-v="random-k1000-s1">.*?</tr>', page, re.DOTALL)[0]
    assert row.split("<td")[-1].startswith(' data-v="">–')


def test_the_loss_chart_leaves_out_what_was_not_measured(data: ReportRecord) -> None:
    run = data.runs[0]
    gap = run.model_copy(update={"history": [replace(run.history[0], eval_loss=None), *run.history[1:]]})
    assert len(loss_values([run])) - len(loss_values([gap])) == 1


def test_the_loss_chart_tells_the_best_step_in_words(data: ReportRecord) -> None:
    chart = loss_chart(data.runs)
    assert chart is not None
    overfit = data.runs[2]
    assert f"{overfit.name}: eval loss {overfit.history[0].eval_loss:.3f} at step 10" in chart.alternative
    assert chart.alternative.endswith("verdict overfit.")


@pytest.mark.parametrize("n_runs", [1, 3])
def test_every_chart_fits_vega_lites_schema_which_rendering_does_not_check(n_runs: int) -> None:
    import altair

    losses, curations = report_charts(make_report(n_runs, 0))
    charts = [*losses, *curations[0][1]]
    assert [chart.chart_id for chart in charts] == [
        "losses", "gains", "curation-0-map", "curation-0-lengths", "curation-0-reasons",
    ]  # fmt: skip
    for chart in charts:
        altair.Chart.from_dict(chart.spec, validate=True).to_dict(validate=True)


def test_without_a_score_there_is_no_chart() -> None:
    assert (loss_chart([]), gain_chart([])) == (None, None)


def test_the_record_has_every_number_and_no_generated_text(data: ReportRecord) -> None:
    record = data.as_dict()
    assert next(iter(record.items())) == ("schema", "evaluate_suite.report/3")
    assert record["runs"][0]["gain"] == {
        "value": 0.9, "low": 0.85, "high": 0.9500000000000001, "n": 180, "unscored": 2, "reason": None,
    }  # fmt: skip
    assert "text" not in record["prompts"][0]["outputs"][0]
    assert "prompt" not in record["prompts"][0]
    assert [sorted(curation)[0] for curation in record["curations"]] == ["clusters"] * 3
    assert "points" not in record["curations"][0]


def test_every_generation_is_a_line_with_its_scores(data: ReportRecord) -> None:
    lines = list(generation_lines(data.prompts))
    assert len(lines) == 24 * 4
    assert sorted(lines[0]) == [
        "answer_end", "completion", "language", "model", "new_tokens", "prompt", "prompt_id", "scores", "stop_reason",
    ]  # fmt: skip


def test_the_commands_that_repeat_the_report_stand_once_each(data: ReportRecord) -> None:
    lines = reproduce_block(data).split("\n")
    assert lines[:2] == ["curate select --strategy kmeans --k 1000 --seed 0", "finetune run seed=0"]
    assert lines[-1] == "evalsuite report kmeans-k1000-s0 random-k1000-s1 medoids-k1000-s2"


def test_the_terminal_shows_every_run_with_absence_as_a_dash(data: ReportRecord) -> None:
    heads, rows = run_columns(data)
    first, second = (dict(zip(heads, row, strict=True)) for row in rows[:2])
    assert (first["run"], first["gain"], first["95% interval"], first["peak\nGiB"]) == (
        "kmeans-k1000-s0", "0.900", "0.850 to 0.950", "3.4",
    )  # fmt: skip
    assert second["peak\nGiB"] == "–"


def test_pairs_stand_by_measure_with_how_many_differ(data: ReportRecord, page: str) -> None:
    assert re.findall(r"<summary>(Eval loss: [^<]*)</summary>", page) == ["Eval loss: 2 of 3 pairs differ"]


def test_strategies_stand_by_measure_with_what_is_shown_and_else_what_would_have_been() -> None:
    page = render_report_page(make_report(10, 0))
    table = page[page.index('id="strategy-metric-table"') :].split("</table>")[0]
    told = {row.split("</th>")[0]: row for row in table.split('<th scope="row">')[1:]}
    assert '<span class="good">kmeans beats random</span>' in told["Well-formed answer"]
    assert "no difference shown<small>8.3 points would show 4 times in 5</small>" in told["Trailing share"]
    assert "no difference shown<small>0.0830 would show 4 times in 5</small>" in told["chrF"]
    assert "<small>draws ± 1.2%</small>" in told["Well-formed answer"]


def test_a_run_without_executed_tasks_says_so(data: ReportRecord) -> None:
    metrics = [{k: v for k, v in run.metrics.items() if k != "passes_tests"} for run in data.runs]
    runs = [run.model_copy(update={"metrics": of_run}) for run, of_run in zip(data.runs, metrics, strict=True)]
    assert render_report_page(data.model_copy(update={"runs": runs})).count("<small>not run</small>") == 3


def test_a_gate_fails_for_the_run_that_overfits_and_only_when_asked(data: ReportRecord) -> None:
    check_gates(data, ["regression"])
    with pytest.raises(GateError, match=r"^medoids-k1000-s2 is overfit\."):
        check_gates(data, ["overfit", "regression"])


def test_a_report_of_one_run_without_prompts_renders() -> None:
    page = render_report_page(make_report(1, 0).model_copy(update={"pairs": [], "winner": None}))
    assert "One run, so there is no pair of runs to compare." in page
    assert 'id="generations"' not in page
