"""The page: nothing outside is loaded, and whatever a model says is text."""

import base64
import hashlib
import re

import pytest
from audits import sample_audits
from page_parts import hostile_page, read

from onnxviz.auditing.finding import Severity
from onnxviz.messages import printable
from onnxviz.reports.html_page import render
from onnxviz.reports.report import audits_page


@pytest.fixture(scope="module")
def hostile():
    page, used = hostile_page()
    return render(page), used


def digest(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_lets_only_the_page_itself_run(made):
    (policy,) = [one["content"] for one in made.page.all("meta") if one.attributes.get("http-equiv")]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    style, script = (re.search(f"<{tag}>(.*?)</{tag}>", made.report.html, re.DOTALL)[1] for tag in ("style", "script"))
    assert directives == {
        "default-src": "'none'", "img-src": "data:", "style-src": digest(style), "script-src": digest(script),
        "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip


def check_loads_nothing(page):
    for element in page.all():
        names = set(element.attributes)
        assert not {name for name in names if name.startswith("on") or name == "style"}, element.attributes
        if "src" in names:
            assert element["src"].startswith("data:image/")
        if "href" in names:
            assert re.fullmatch(r"#[\w-]+", element["href"])
    tags = [element.tag for element in page.all()]
    assert tags.count("script") == tags.count("style") == 1
    assert not {"iframe", "object", "embed", "link", "base", "form"} & set(tags)


def test_nothing_is_loaded(made):
    check_loads_nothing(made.page)
    assert not re.findall(r"https?://", re.sub(r"data:[^\"]*", "", made.report.html))


def test_links_lead_to_sections_that_are_there(made):
    ids = [element["id"] for element in made.page.all(id=True)]
    assert len(ids) == len(set(ids))
    assert {element["href"][1:] for element in made.page.all("a")} <= set(ids)


def test_a_thousand_hostile_strings_are_text(hostile):
    html, used = hostile
    assert len(used) >= 1000
    page = read(html)
    check_loads_nothing(page)
    text = " ".join(page.text.split()).replace("`", "")
    for one in used:
        shown = " ".join(printable(one, 2000).split()).replace("`", "")
        if len(shown) > 1000:  # of a place of two long names the beginning and the end
            assert shown[:500] in text or shown[-500:] in text
        else:
            assert shown in text


def test_no_control_or_bidirectional_character_is_left(hostile):
    html, _ = hostile
    assert {char for char in html if not char.isprintable()} == {"\n"}
    html.encode("utf-8")


def test_a_page_of_audits_says_each_model():
    page = read(audits_page(sample_audits(), Severity.ERROR))
    check_loads_nothing(page)
    assert [one["data-model"] for one in page.all("article")] == [audit.label for audit in sample_audits()]
    rows = page.one("table", id="models-table").all("tbody")[0].all("tr")
    assert [row.all("td")[0].words for row in rows] == ["not fit", "not fit", "fit"]
    assert page.all("p", class_="decision")[0].words == "✗ 2 of 3 are not fit to deploy"


def test_a_page_of_one_audit_begins_with_its_verdict():
    (*_, good) = sample_audits()
    page = read(audits_page([good], Severity.ERROR))
    assert page.one("title").words == "Fit to deploy: models/good.onnx"
    assert page.one("p", class_="decision").words == "✓ Fit to deploy"
    assert not page.all("table", id="models-table")


def test_an_accepted_finding_keeps_its_reason():
    page = read(audits_page(sample_audits()[:1], Severity.ERROR))
    (card,) = page.all("div", data_severity="accepted")
    assert "Accepted: known since 2024, model card" in card.words
