"""The report in a real headless Chromium: sort, filter, search, permalink, hostile text, accessibility, no network."""

from __future__ import annotations

from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from benchmarks.headless_browser import console_messages, emulate, network_requests, serious_violations
from evaluate_suite.reporting.page import render_report_page
from tests.evaluate_suite.reporting.report_factory import make_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(render_report_page(make_report(3, 60, hostile=True)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(browser: Any, address: str) -> Any:
    emulate(browser, width=1280)
    browser.get("about:blank")
    console_messages(browser), network_requests(browser)
    browser.get(address)
    return browser


def wait(page: Any, condition: str, *arguments: Any) -> Any:
    """What the JavaScript expression `condition` gives once it is truthy."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(page, 10, 0.05).until(lambda d: d.execute_script(f"return {condition}", *arguments))


def see_everything(page: Any) -> None:
    """Scroll through the charts, so that every one of them comes alive."""
    for chart in page.find_elements("css selector", "details[open] [data-chart], #training [data-chart]"):
        page.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", chart)
        wait(page, "arguments[0].dataset.live", chart)


def names(page: Any) -> list[str]:
    return list(
        page.execute_script("return [...document.querySelectorAll('#run-table tbody th')].map(e => e.dataset.v)")
    )


def shown(page: Any) -> list[str]:
    return list(page.execute_script("return [...document.querySelectorAll('article.prompt')].map(e => e.id)"))


def choose(page: Any, select: str, value: str) -> None:
    page.execute_script(
        "const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('change'))",
        select,
        value,
    )


def test_the_page_asks_for_nothing_and_says_nothing_to_the_console(page: Any) -> None:
    see_everything(page)
    assert (network_requests(page), console_messages(page)) == ([], [])


def test_a_click_on_a_head_sorts_and_a_second_turns_round(page: Any) -> None:
    before = names(page)
    head = page.find_element("xpath", "//table[@id='run-table']//th[.='Tuned eval loss']")
    head.find_element("tag name", "button").click()
    assert (head.get_attribute("aria-sort"), names(page)) == ("ascending", before)
    head.find_element("tag name", "button").click()
    assert (head.get_attribute("aria-sort"), names(page)) == ("descending", before[::-1])


def test_a_row_without_a_value_sorts_last_both_ways(page: Any) -> None:
    button = page.find_element("xpath", "//table[@id='run-table']//th[.='Peak memory']/button")
    for _ in range(2):
        button.click()
        assert names(page)[-1] == "random-k1000-s1"


def test_search_finds_prompts_beyond_those_in_the_page(page: Any) -> None:
    page.find_element("id", "by-text").send_keys("JS debounce")
    wait(page, "document.querySelector('#generation-tools output').textContent.startsWith('10 of 60')")
    assert shown(page) == [f"p-ask-{n:03d}" for n in range(2, 60, 6)]


def test_the_filter_keeps_prompts_without_a_score_when_asked(page: Any) -> None:
    choose(page, "by-metric", "chrf")
    choose(page, "by-state", "none")
    wait(page, "document.querySelector('#generation-tools output').textContent.startsWith('9 of 60')")
    assert shown(page) == [f"p-ask-{n:03d}" for n in range(0, 60, 7)]


def shown_width(page: Any) -> float:
    """How wide a stretch of the map is in view."""
    low, high = page.execute_script("return document.querySelector('[data-image]').view.scale('x').domain()")
    return float(high - low)


def test_the_map_zooms_by_keyboard_and_returns_to_the_whole(page: Any) -> None:
    see_everything(page)
    whole = shown_width(page)
    widths = []
    for name in ("Zoom in", "Zoom in", "Zoom out", "Whole map"):
        page.find_element("xpath", f"//details[@open]//button[.='{name}']").send_keys(Keys.ENTER)
        widths.append(round(shown_width(page) / whole, 3))
    assert widths == [0.6, 0.36, 0.6, 1.0]


def test_the_map_shows_one_cluster_when_asked(page: Any) -> None:
    see_everything(page)
    page.execute_script(
        "const e = document.querySelector('details[open] .vega-bind select'); e.value = '3';"
        "e.dispatchEvent(new Event('change')); e.dispatchEvent(new Event('input'))"
    )
    drawn = "return document.querySelector('[data-image]').view.data('data_0').map(row => row.cluster)"
    clusters = page.execute_script(drawn)
    assert (set(clusters), len(clusters) > 1) == ({3}, True)


def test_choosing_a_run_shows_it_beside_the_base_model(page: Any) -> None:
    choose(page, "show-run", "3")
    visible = "[...document.querySelectorAll('#p-ask-010 .gen:not([hidden]) h4')].map(e => e.firstChild.data.trim())"
    wait(page, f"{visible}[1] === 'medoids-k1000-s2'")
    assert page.execute_script(f"return {visible}") == ["base", "medoids-k1000-s2"]


def test_a_permalink_opens_a_prompt_that_is_packed(page: Any, address: str) -> None:
    page.get("about:blank")
    page.get(address + "#p-ask-045")
    top = wait(page, "document.getElementById('p-ask-045')?.getBoundingClientRect().top")
    assert 0 <= top <= 900
    assert page.execute_script("return document.querySelectorAll('#p-ask-045 .k').length > 0")


def test_a_link_to_a_folded_selection_opens_it(page: Any) -> None:
    assert page.find_element("id", "curation-1").get_attribute("open") is None
    page.find_element("xpath", "//table[@id='selection-table']//a[@href='#curation-1']").send_keys(Keys.ENTER)
    wait(page, "document.getElementById('curation-1').open")


def test_show_more_adds_twenty(page: Any) -> None:
    page.execute_script("document.getElementById('more').click()")
    wait(page, "document.querySelectorAll('article.prompt').length === 40")


def test_hostile_text_runs_nowhere_and_shows_as_text(page: Any) -> None:
    page.execute_script("for (let i = 0; i < 3; i++) document.getElementById('more').click()")
    wait(page, "document.querySelectorAll('article.prompt').length === 60")
    assert page.title.startswith("kmeans beats random")
    text = page.execute_script("return document.getElementById('p-ask-000').textContent")
    assert "</script><script>document.title='owned'</script>" in text
    late = page.execute_script("return document.getElementById('p-ask-059').textContent")
    assert "x" * 1000 in late
    assert console_messages(page) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [380, 1280])
def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways(
    page: Any, axe_source: str, width: int, dark: bool
) -> None:
    emulate(page, width=width, dark=dark)
    page.refresh()
    see_everything(page)
    assert serious_violations(page, axe_source) == []
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_page_reads_without_its_script(page: Any, address: str) -> None:
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.get(address + "#none")
        page.refresh()
        assert len(page.find_elements("css selector", "svg.still")) == 11
        assert len(page.find_elements("css selector", "article.prompt")) == 20
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
