"""The site: built strictly, its links lead somewhere, nothing comes from elsewhere, its search works from the disk."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import chromium
from deadlines import HANG_SECONDS

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("zensical")


class _Read(HTMLParser):
    """What a page refers to, and the places in it that can be referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], {"", "__skip", "__codelineno"}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("prev", "next"):
            self.loaded.append(given["href"])
        elif given.get("src"):
            self.loaded.append(given["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "zensical.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "onnxviz").symlink_to(ROOT / "onnxviz")
    done = subprocess.run(
        [sys.executable, "docs/make_site.py"], cwd=folder, capture_output=True, encoding="utf-8",
        timeout=HANG_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build" / "site"


@pytest.fixture(scope="module")
def pages(site):
    return {path: _Read(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_page_is_built(site, pages):
    there = {path.relative_to(site).with_suffix("").as_posix() for path in pages}
    written = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    written |= {f"notebooks/{path.stem}" for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")}
    assert there == written | {"checks", "python", "changelog", "contributing", "security"}


def test_every_link_leads_somewhere(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (target in pages and unquote(parts.fragment) not in pages[target].anchors):
                broken.append((path.name, link))
    assert not broken


def test_nothing_is_loaded_from_elsewhere(pages):
    assert not [(path.name, one) for path, page in pages.items() for one in page.loaded if "://" in one]


def test_every_page_is_reached_from_the_first(site, pages):
    reached, left = set(), [site / "index.html"]
    while left:
        path = left.pop()
        if path in pages and path not in reached:
            reached.add(path)
            left += [(path.parent / urlsplit(link).path).resolve() for link in pages[path].links if "://" not in link]
    assert reached == {*pages}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(390, False), (820, True), (1440, False)])
def test_pages_fit_their_window(browser, site, width, dark):
    for name in ("index", "commands/maps", "python", "glossary"):
        browser.open(site / f"{name}.html", width, dark=dark)
        assert browser.run("return document.documentElement.scrollWidth") <= width, name
        assert not [one for one in browser.requests() if not one.startswith(("file:", "data:"))]
        scheme = browser.run("return document.body.getAttribute('data-md-color-scheme')")
        assert scheme == ("slate" if dark else "default")


@pytest.mark.browser
def test_the_search_works_from_the_disk(browser, site):
    browser.open(site / "commands" / "maps.html")
    seen = "return [...document.querySelectorAll('*')].map((one) => one.shadowRoot?.textContent ?? '').join(' ')"
    until, typed = time.monotonic() + HANG_SECONDS / 4, False
    while not re.search(r"[1-9]\d* results?", text := browser.run(seen)) and time.monotonic() < until:
        if not typed and browser.run("return document.activeElement.shadowRoot != null"):  # the field has the focus
            browser.driver.switch_to.active_element.send_keys("receptive field")
            typed = True
        elif not typed:  # the script that hears the click may not have begun
            browser.one(".md-search__button").click()
        time.sleep(0.3)
    assert "Glossary" in text
    assert "the part of the input that a unit of a layer sees" in text
    assert not [one for one in browser.requests() if not one.startswith(("file:", "data:"))]
