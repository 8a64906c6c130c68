"""Every other page of ours in a real Chromium: nothing fetched, nothing said, nothing axe takes seriously."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.headless_browser import console_messages, emulate, network_requests, serious_violations
from curate.comparison.page import ClusterRow, ComparisonPageData, render_comparison_page
from curate.comparison.record import StrategyPicks
from curate.page import write_index
from curate.page.curation import short_label
from curate.selection.page import SelectionPageData, render_selection_page
from evaluate_suite.live.page import render_live_page
from evaluate_suite.reporting.page import render_report_page
from finetune.config import load_config
from finetune.padding_study.page import render_page
from finetune.padding_study.record import Arm, PaddingStudyRecord
from tests.evaluate_suite.reporting.report_factory import HOSTILE, make_decisions, make_report
from tests.make_golden import GOLDEN

pytestmark = pytest.mark.browser


def selection_page(folder: Path) -> str:
    columns, texts = make_decisions(2000, 300)
    texts |= {row_id: HOSTILE[i % len(HOSTILE)] for i, row_id in enumerate(list(texts)[:40])}
    counts = {"pool": 2000, "selected": columns["fate"].count("selected"), "selected_tokens": 51_234}
    config = {"strategy": "kmeans", "seed": 0, "k": 300}
    coverage = {"mean_cosine_to_nearest_pick": 0.71, "clusters_with_a_pick": 1.0}
    command = ["curate", "select", "--k", "300"]
    return render_selection_page(
        SelectionPageData("demo", config, counts, columns, texts, coverage, [HOSTILE[0]], command)
    )


def comparison_page(folder: Path) -> str:
    done = [
        StrategyPicks(
            strategy=name, rows=30, tokens=900, mean_distance=distance, worst_distance=0.9, facility_location=55.0,
            vendi_score=vendi, clusters_with_a_pick=2, evenness=0.97, near_duplicate_pairs=0, close_pairs=1,
            lengths=(10, 30, 50), cluster_shares=(0.6, 0.4), sources={"a.jsonl": 0.7, HOSTILE[0]: 0.3},
            languages={"python": 0.8, "no code": 0.2}, shared={other: 0.2},
        )
        for name, other, distance, vendi in (("random", "kmeans", 0.31, 20.0), ("kmeans", "random", 0.30, 21.5))
    ]  # fmt: skip
    results = [*done, StrategyPicks(strategy="dpp", reason="It cannot pick that many.")]
    points = [
        (i % 17 / 17, i % 13 / 13, i % 2, short_label(HOSTILE[i % 8]), ("random",) * (i % 3 == 0)) for i in range(200)
    ]
    clusters = [ClusterRow(0, 0.55, short_label(HOSTILE[1])), ClusterRow(1, 0.45, "sort a list")]
    return render_comparison_page(
        ComparisonPageData(
            "compare-demo", "kmeans covers best.", "Coverage is not quality.", results,
            {"random": 0.1, "kmeans": 0.2, "dpp": 0.0}, [("Pool", "200 rows")], points, 200, clusters, ["A note."],
            {"near_duplicate": 0.95, "k": 30}, "curate compare",
        )
    )  # fmt: skip


def padding_page(folder: Path) -> str:
    arms = [
        Arm(
            name="packed", pad_token="<unk>", steps=12, tokens=9000, padding_share=0.01, train_seconds=30.0,
            tokens_per_second=300.0, eval_loss=2.01, base_loss=2.5, loss_difference=None, interval=None,
        ),
        Arm(
            name="right padding", pad_token=HOSTILE[0], steps=12, tokens=9000, padding_share=0.31, train_seconds=44.0,
            tokens_per_second=204.0, eval_loss=2.02, base_loss=2.5, loss_difference=0.01, interval=(-0.01, 0.03),
        ),
    ]  # fmt: skip
    answers = ["Packing is faster.", "Outcome: the same."]
    config = load_config(None, model="tiny")
    manifest = SimpleNamespace(config={"model": "tiny"})
    selection: Any = SimpleNamespace(path=Path("selections/demo"), holdout=[0] * 9, manifest=manifest)
    return render_page("padding-demo", PaddingStudyRecord(arms=arms, answers=answers), config, selection, 64)


def live_page(folder: Path) -> str:
    return render_live_page(GOLDEN / "finetune.run-1")


def index_page(folder: Path) -> str:
    for kind in ("curate.comparison-1", "evaluate_suite.report-1", "finetune.padding_study-1"):
        shutil.copytree(GOLDEN / kind, folder / kind)
    write_index(folder)
    return (folder / "index.html").read_text(encoding="utf-8")


def see_charts(browser: Any) -> None:
    """Scroll through the charts until each is alive; those of the live page stay drawings, it is renewed anyway."""
    if not browser.find_elements("id", "chart-code"):
        return
    from selenium.webdriver.support.ui import WebDriverWait

    for chart in browser.find_elements("css selector", "[data-chart]"):
        browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", chart)
        WebDriverWait(browser, 10, 0.05).until(lambda _, box=chart: box.get_attribute("data-live"))


def report_of_one_run(folder: Path) -> str:
    return render_report_page(make_report(1, 3, hostile=True).model_copy(update={"pairs": [], "winner": None}))


PAGES = [report_of_one_run, selection_page, comparison_page, padding_page, live_page, index_page]


@pytest.mark.parametrize("dark", [False, True], ids=["phone-dark", "desk-light"])
@pytest.mark.parametrize("render", PAGES, ids=lambda render: render.__name__)
def test_the_page_is_quiet_accessible_and_as_wide_as_its_window(
    browser: Any, axe_source: str, tmp_path: Path, render: Callable[[Path], str], dark: bool
) -> None:
    width = 380 if dark else 1280
    path = tmp_path / "index.html"
    path.write_text(render(tmp_path / "made"), encoding="utf-8")
    emulate(browser, width=width, dark=dark)
    browser.get("about:blank")
    console_messages(browser), network_requests(browser)
    browser.get(path.as_uri())
    see_charts(browser)
    assert serious_violations(browser, axe_source) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert (console_messages(browser), network_requests(browser)) == ([], [])
    assert browser.title != "owned"


def test_the_goals_of_the_study_of_which_rows_fit_a_phone(browser: Any) -> None:
    emulate(browser, width=360)
    browser.get((Path(__file__).parents[3] / "reports" / "which-1000-rows" / "index.html").as_uri())
    box = browser.find_element("css selector", "[aria-label='Table: goals of the study']")
    assert browser.execute_script("return arguments[0].scrollWidth - arguments[0].clientWidth", box) == 0
