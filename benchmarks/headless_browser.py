"""A headless Chromium with a profile of its own, driven by Selenium; nothing is downloaded and nothing is reached."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = ("/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome")
CHROMEDRIVER = ("/usr/bin/chromedriver", "chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--hide-scrollbars",
)  # fmt: skip


def find_browser() -> tuple[str, str] | None:
    """Paths of Chromium and its driver, or None where either is absent."""
    chromium = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    driver = next((path for name in CHROMEDRIVER if (path := shutil.which(name))), None)
    return (chromium, driver) if chromium and driver else None


@contextlib.contextmanager
def open_browser(width: int = 1280, height: int = 900) -> Iterator[Any]:
    """A Selenium driver that logs console messages and network events."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    found = find_browser()
    if found is None:
        raise FileNotFoundError("chromium and chromedriver are not installed")
    with tempfile.TemporaryDirectory(prefix="rowpick-browser-", ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = found[0]
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(executable_path=found[1]))
        try:
            yield driver
        finally:
            driver.quit()


def emulate(driver: Any, *, width: int, height: int = 900, dark: bool = False, print_media: bool = False) -> None:
    """Set the viewport and the preferred colour scheme."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    media = {"media": "print" if print_media else "screen", "features": [scheme]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def screenshot(driver: Any, path: str | Path, *, clip: tuple[int, int, int, int] | None = None) -> None:
    """Save a PNG of the whole page, or of the clip (x, y, width, height)."""
    size = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    x, y, width, height = clip or (0, 0, size["width"], size["height"])
    area = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
    options = {"format": "png", "captureBeyondViewport": True, "clip": area}
    Path(path).write_bytes(base64.b64decode(driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]))


def console_messages(driver: Any) -> list[str]:
    """What the page wrote to the console since the last call, uncaught errors and refused loads included."""
    return [entry["message"] for entry in driver.get_log("browser")]


def network_requests(driver: Any) -> list[str]:
    """The addresses asked for since the last call, the page's own file and data: addresses left out."""
    import json

    addresses = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if not url.startswith(("data:", "blob:")) and message["params"].get("type") != "Document":
                addresses.append(url)
    return addresses


def find_axe() -> str | None:
    """The script of axe-core (MPL-2.0), which the package axe-playwright-python carries; None where it is absent."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or not found.submodule_search_locations:
        return None
    return (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")


def serious_violations(driver: Any, axe_source: str) -> list[list[str]]:
    """[rule, the first element that breaks it] for every rule of axe-core of serious or critical impact."""
    driver.execute_script(axe_source)
    found: list[list[str]] = driver.execute_async_script(
        "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations"
        ".filter(v => v.impact === 'serious' || v.impact === 'critical').map(v => [v.id, v.nodes[0].html])))"
    )
    return found
