"""Debian's Chromium without a window, for tests that look at a page as its reader does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PAPER = 703
"""CSS pixels across the text of an A4 page with margins of 12 mm."""


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser that keeps its own files in the folder; the test is skipped where there is none."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("Chromium and its driver are not there: `make browser` installs them")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*_FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driven = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield Browser(driven)
    finally:
        driven.quit()


class Browser:
    """A browser, and what tests ask of it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, width: int = 1440, *, dark: bool = False, media: str = "screen") -> None:
        """Opens a page at a width in CSS pixels, light or dark, on the screen or as it is printed."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get_log("performance")  # of the page before
        self.driver.get_log("browser")
        self.driver.get(page.as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def one(self, selector: str) -> Any:
        """The first element that a CSS selector means."""
        return self.driver.find_element("css selector", selector)

    def requests(self) -> list[str]:
        """The addresses that the page asked for since it was opened."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [
            one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"
        ]  # fmt: skip

    def complaints(self) -> list[str]:
        """What stands in the browser's console: errors, and what a policy refused."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


CONTRASTS = """
// [contrast, text] of every piece of text that is shown, by WCAG 2.2's relative luminance, over the colours behind it.
function parse(text) {
  const [r, g, b, a] = text.match(/[\\d.]+/g).map(Number);
  return [r, g, b, a === undefined ? 1 : a];
}
function over(a, b) { return [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat([1]); }
function luminance(c) {
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const [r, g, b] = c.slice(0, 3).map((v) => linear(v / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function ground(element) {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((below, colour) => over(colour, below), [255, 255, 255, 1]);
}
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || !e.checkVisibility() || e.closest("script, style")) continue;
  const behind = ground(e);
  let colour = parse(getComputedStyle(e).color);
  let opacity = 1;
  for (let p = e; p; p = p.parentElement) opacity *= Number(getComputedStyle(p).opacity);
  colour = over([...colour.slice(0, 3), colour[3] * opacity], behind);
  const [high, low] = [luminance(colour), luminance(behind)].sort((a, b) => b - a);
  found.push([(high + 0.05) / (low + 0.05), walker.currentNode.textContent.trim().slice(0, 60)]);
}
return found;
"""

OUTSIDE = """
// What reaches over the sides of the page, but for what scrolls in a box of its own; and texts that are cut off.
return Array.from(document.querySelectorAll("body *")).filter((e) => {
  if (!e.checkVisibility() || e.closest("svg")) return false;
  const box = e.getBoundingClientRect();
  const scrolls = e.closest(".scroll") && getComputedStyle(e.closest(".scroll")).overflowX === "auto";
  const cut = getComputedStyle(e).overflowX === "hidden" && e.scrollWidth > e.clientWidth + 1;
  return cut || (!scrolls && (box.right > innerWidth + 1 || box.left < -1));
}).map((e) => `${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 40)}`);
"""
