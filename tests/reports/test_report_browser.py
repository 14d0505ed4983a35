"""The page in Chromium: nothing is cut off, all can be read, sorted, filtered and opened, and nothing hostile runs."""

import pytest
from browser import CONTRASTS, OUTSIDE, PAPER, chromium
from page_parts import hostile_page

from onnxviz.auditing.finding import Severity
from onnxviz.reports.html_page import render
from onnxviz.reports.report import audits_page

pytestmark = pytest.mark.browser
VIEWS = [
    pytest.param(width, dark, media, id=f"{width} {'dark' if dark else 'light'} {media}")
    for width, dark, media in (
        (1440, False, "screen"), (1440, True, "screen"), (390, False, "screen"), (390, True, "screen"),
        (PAPER, False, "print"), (PAPER, True, "print"),
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    return made.report.save(tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile") / "hostile.html"
    path.write_text(render(hostile_page()[0]), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "dark", "media"), VIEWS)
def test_all_is_seen_and_can_be_read(seen, page, width, dark, media):
    seen.open(page, width, dark=dark, media=media)
    assert seen.run("return document.documentElement.scrollWidth") <= width
    assert seen.run(OUTSIDE) == []
    found = seen.run(CONTRASTS)
    assert len(found) > 200
    assert [(round(ratio, 2), text) for ratio, text in found if ratio < 4.5] == []
    assert seen.complaints() == []


@pytest.mark.parametrize(("width", "dark", "media"), VIEWS)
def test_a_hostile_page_is_seen_too_and_runs_nothing(seen, hostile, width, dark, media):
    seen.open(hostile, width, dark=dark, media=media)
    assert seen.run("return [typeof window.ran, document.scripts.length]") == ["undefined", 1]
    seen.run("document.querySelectorAll('*').forEach((e) => e.dispatchEvent(new MouseEvent('mouseover')))")
    seen.run("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    assert seen.run("return typeof window.ran") == "undefined"
    assert [one for one in seen.requests() if not one.startswith("data:")] == [hostile.as_uri()]
    assert seen.run("return document.documentElement.scrollWidth") <= width
    assert seen.run(OUTSIDE) == []
    assert seen.complaints() == []


def test_the_policy_stops_what_would_be_put_in(seen, page, tmp_path):
    """That nothing runs is not for lack of trying: with markup put into the file, the policy refuses it."""
    text = page.read_text(encoding="utf-8")
    bad = "<script>window.ran=1</script><img src='https://example.org/x.png' onerror='window.ran=2'></main>"
    changed = tmp_path / "changed.html"
    changed.write_text(text.replace("</main>", bad), encoding="utf-8")
    seen.open(changed)
    assert seen.run("return [typeof window.ran, document.scripts.length]") == ["undefined", 2]
    assert len(seen.complaints()) >= 2


def column(seen, table, number):
    return seen.run(
        "const rows = Array.from(document.querySelector(arguments[0]).tBodies[0].rows);"
        "return rows.filter((row) => row.checkVisibility()).map((row) => row.cells[arguments[1]].innerText)",
        table,
        number,
    )


def test_a_click_sorts_and_another_turns_it_round(seen, page, made):
    seen.open(page)
    table = "#m1-layer-table"
    names = column(seen, table, 1)
    heading = seen.one(f"{table} thead th:nth-child(7) button")
    assert heading.text == "parameters"
    heading.click()
    *shown, last = column(seen, table, 6)
    numbers = [int(text.replace(",", "")) for text in shown]
    assert numbers == sorted(numbers)
    assert last == ""  # what has no number comes last, whichever way
    heading.click()
    assert column(seen, table, 6) == [*(f"{one:,}" for one in sorted(numbers, reverse=True)), ""]
    seen.one(f"{table} thead th:nth-child(2) button").click()
    assert column(seen, table, 1) == sorted(names)
    assert seen.one(f"{table} thead th:nth-child(2)").get_attribute("aria-sort") == "ascending"
    assert seen.one(f"{table} thead th:nth-child(7)").get_attribute("aria-sort") is None


def test_words_filter_layers(seen, page):
    seen.open(page)
    seen.one("[data-filter=m1-layer-table]").send_keys("conv2")
    assert column(seen, "#m1-layer-table", 1) == ["conv2"]
    assert seen.one("[data-count=m1-layer-table]").text == "1 of 6"
    seen.one("[data-filter=m1-layer-table]").clear()


def test_severities_are_hidden_and_shown_again(seen, page, made):
    shown = (
        "return Array.from(document.querySelectorAll('.finding'))"
        ".filter((e) => e.checkVisibility()).map((e) => e.dataset.severity)"
    )
    seen.open(page)
    before = seen.run(shown)
    assert set(before) == {"error", "warning", "note"}
    seen.one("[data-show=note]").click()
    assert set(seen.run(shown)) == {"error", "warning"}
    seen.one("[data-filter=m1-findings]").send_keys("no such words")
    assert seen.run(shown) == []
    seen.one("[data-filter=m1-findings]").clear()
    seen.one("[data-filter=m1-findings]").send_keys(" ")
    seen.one("[data-show=note]").click()
    assert seen.run(shown) == before


def test_a_manual_opens(seen, page):
    seen.open(page)
    text = "Why it matters."
    assert not seen.one(".finding details p").is_displayed()
    seen.one(".finding details summary").click()
    assert seen.one(".finding details p").is_displayed()
    assert seen.one(".finding details p").text.startswith(text)


def test_without_scripts_everything_is_there(seen, page):
    seen.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        seen.open(page)
        words = seen.one("body").text
    finally:
        seen.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "Not fit to deploy" in words
    assert "Filter layers" not in words
    assert "3 of 64 filters are dead" in words


def test_many_models_on_one_page(seen, tmp_path):
    from audits import sample_audits

    path = tmp_path / "audits.html"
    path.write_text(audits_page(sample_audits(), Severity.ERROR), encoding="utf-8")
    for width in (1440, 390):
        seen.open(path, width)
        assert seen.run("return document.documentElement.scrollWidth") <= width
        assert seen.run(OUTSIDE) == []
        assert [(ratio, text) for ratio, text in seen.run(CONTRASTS) if ratio < 4.5] == []
    seen.one("#models-table a").click()
    assert seen.run("return location.hash") == "#m1"
