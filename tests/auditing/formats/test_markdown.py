"""Markdown: tables that stay tables and text that stays text whatever names hold, and no longer than a comment may be.

What a reader sees is told by two parsers: markdown-it, and where it is installed GitHub's own (cmark-gfm).
"""

import re
from html.parser import HTMLParser
from importlib.util import find_spec

import pytest
from audits import NASTY, audit_of, finding, sample_audits
from hypothesis import given, settings
from markdown_it import MarkdownIt
from stranger_texts import FRAGMENTS, texts

from onnxviz.auditing.finding import Severity
from onnxviz.auditing.formats.markdown import LONGEST, markdown
from onnxviz.messages import printable

ON = Severity.ERROR
JOINER = "\N{WORD JOINER}"
TAGS = {
    "h3", "h4", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "code", "br", "span", "details", "summary",
}  # fmt: skip
# What GitHub makes a link or a picture of in the text that Markdown leaves (not in code).
LIVE = {
    "mention": r"(?<![\w`])@[a-z0-9]", "issue": r"#\d|GH-\d", "address": r"(https?|ftp)://|www\.|mailto:\w",
    "mail": r"[\w.+-]@[\w-]", "emoji": r":[a-z0-9_+-]+:", "commit": r"\b(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{7,40}\b",
}  # fmt: skip


class Page(HTMLParser):
    """HTML as a reader has it: the cells of its rows, its tags with their attributes, and the text outside of code."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.tags, self.attributes, self.text, self.inside = [], set(), set(), [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("br",):
            self.inside.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "br" and "td" in self.inside:
            self.rows[-1][-1] += "\n"

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag, "elements are closed in another order than they were opened"

    def handle_data(self, data):
        if "code" not in self.inside:
            self.text.append(data)
        if {"td", "th"} & {*self.inside}:
            self.rows[-1][-1] += data.replace(JOINER, "")


def github_html(text):
    from cmarkgfm import github_flavored_markdown_to_html
    from cmarkgfm.cmark import Options

    return github_flavored_markdown_to_html(text, Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_FOOTNOTES)


PARSERS = [
    MarkdownIt("gfm-like", {"linkify": False}).render,
    pytest.param(
        github_html,
        marks=pytest.mark.skipif(find_spec("cmarkgfm") is None, reason="GitHub's parser (cmarkgfm) is not installed"),
    ),
]
parsed_by_both = pytest.mark.parametrize("parser", PARSERS, ids=["markdown-it", "cmark-gfm"])


def page(parser, audits, on="error"):
    return Page(parser(markdown(audits, Severity(on))))


def test_the_verdict_comes_first():
    assert markdown([audit_of(passed=["G00"])], ON).startswith("### ✅ `models/m.onnx` passes\n")
    assert markdown([audit_of(finding())], ON).startswith("### ❌ `models/m.onnx` fails\n")
    assert markdown(sample_audits(), ON).startswith("### ❌ 2 of 3 models fail\n")
    both = [audit_of(passed=["G00"]), audit_of(passed=["G00"], label="n.onnx")]
    assert markdown(both, ON).startswith("### ✅ 2 models pass\n")
    assert markdown([audit_of(finding(severity="note"))], Severity.NOTE).startswith("### ❌")
    assert markdown(both[:1], Severity.NOTE).startswith("### ✅ `models/m.onnx` passes (fail_on='note')\n")


def test_a_model_on_which_no_check_could_run_does_not_pass():
    idle = audit_of(not_run=[("A01", "no data")])
    assert markdown([idle], ON).startswith("### ❌ `models/m.onnx`: no check could run on it\n")
    several = [idle, audit_of(passed=["G00"]), audit_of(finding())]
    assert markdown(several, ON).startswith("### ❌ 1 of 3 models fail, of 1 no check could run\n")
    assert markdown(several[:2], ON).startswith("### ❌ none fails, of 1 no check could run\n")
    assert [row[2] for row in markdown(several, ON).splitlines()[4:7]] == ["❌", "✅", "❌"]


def test_numbers_come_next_and_those_that_fail_are_bold():
    first, second, _ = sample_audits()
    assert markdown([first], ON).splitlines()[2] == (
        "**3 errors** · 1 warning · 1 note · 1 accepted · 1 check found nothing · 1 not run"
    )
    assert markdown([second], Severity.NOTE).splitlines()[2] == "**1 error**"
    assert markdown([audit_of(passed=["G00", "W01"])], ON).splitlines()[2] == "no findings · 2 checks found nothing"


@parsed_by_both
@pytest.mark.parametrize("audits", [sample_audits(), sample_audits()[:1]], ids=["several", "one"])
def test_every_row_has_as_many_cells_as_its_heading(parser, audits):
    found = page(parser, audits)
    assert {len(row) for row in found.rows} <= {2, 4, 6}
    assert [row for row in found.rows if row[1] == "W01"]
    assert found.inside == []


@parsed_by_both
def test_a_row_says_everything(parser):
    rows = page(parser, [audit_of(finding(layer="conv1", channel=3))]).rows
    assert rows == [
        ["", "check", "finding", "what to do"],
        ["❌\N{NO-BREAK SPACE}error", "W01", "conv1, channel 3\n3 of 9 weights are NaN", "export it again"],
    ]


def test_what_is_accepted_says_why():
    text = markdown([audit_of(finding(reason="known"))], ON)
    assert "| accepted | W01 | 3 of 9 weights are NaN<br>accepted: known | export it again |" in text
    assert text.startswith("### ✅")


@pytest.mark.parametrize(("on", "folded"), [("error", "1 note"), ("warning", "1 note"), ("note", None)])
def test_what_neither_fails_nor_warns_is_folded(on, folded):
    audits = [audit_of(*(finding(severity=one) for one in ("error", "warning", "note")))]
    text = markdown(audits, Severity(on))
    head, _, tail = text.partition("<details>")
    assert head.count("| W01 |") == (3 if folded is None else 2)
    assert tail.startswith(f"<summary>{folded}</summary>\n\n" if folded else "")


@parsed_by_both
def test_many_that_are_alike_are_one_row_with_their_places_folded(parser):
    audits = [audit_of(*(finding(layer=f"l{n}", value=float(n), threshold=0.0) for n in range(40)), finding("W02"))]
    rows = [row for row in page(parser, audits).rows if row[1] != "check"]
    assert [row[1] for row in rows] == ["W01", "W02"]
    listed = ", ".join(f"l{n}" for n in range(40))
    assert "".join(rows[0][2].split()) == "".join(
        f"in 40 layers, worst in l39 3 of 9 weights are NaN all 40{listed}".split()
    )


@pytest.mark.parametrize(("count", "listed", "more"), [(100, 100, ""), (1234, 100, " and 1,134 more</details>")])
def test_of_hundreds_of_places_the_rest_are_counted(count, listed, more):
    text = markdown([audit_of(*(finding(layer=f"l{n}") for n in range(count)))], ON)
    assert f"in {count:,} layers, first in `l0`<br>" in text
    assert f"<summary>all {count:,}</summary>" in text
    assert len(set(re.findall(r"`l\d+`", text))) == listed
    assert more in text


def test_few_that_are_alike_are_a_row_each():
    text = markdown([audit_of(*(finding(layer=f"l{n}") for n in range(3)))], ON)
    assert text.count("| W01 |") == text.count("export it again") == 3


def test_checks_that_were_not_run_are_folded_each_reason_once():
    missing = [("A01", "no data"), ("A02", "no data"), ("P01", "no source")]
    text = markdown([audit_of(not_run=missing), audit_of(label="n.onnx", not_run=missing[:2])], ON)
    assert text.endswith(
        "<details><summary>3 checks not run</summary>\n\n| checks | why |\n|-|-|\n"
        "| A01 A02 | no data |\n| P01 | no source, in 1 of 2 models |\n\n</details>\n"
    )


# ---------------------------------------------------------------- strangers' names


def hostile_audit(text, label="m.onnx"):
    findings = [
        finding(layer=text, message=text, do=text, severity=severity, reason=reason)
        for severity, reason in (("error", ""), ("note", ""), ("error", text))
    ]
    return audit_of(*findings, label=label, not_run=[("W09", text)])


def check_is_text(parser, text):
    """The text stands in its cells as it is, and nothing in the page is anything else."""
    found = page(parser, [hostile_audit(text, text or "m.onnx"), hostile_audit(text, f"a{text}b")])
    assert found.tags <= TAGS
    assert found.attributes <= {"align", "style"}
    for what, pattern in LIVE.items():
        live = re.search(pattern, "\0".join(found.text), re.IGNORECASE)
        assert live is None, (what, live)
    shown = " ".join(printable(text, 500).split())
    cells = [[" ".join(part.split()) for part in row[2].split("\n")] for row in found.rows if row[1] == "W01"]
    expected = [[shown, shown] if text else [shown]] * 2
    with_reason = [shown, shown, f"accepted: {shown}".rstrip()] if text else [shown]
    accepted = with_reason if printable(text) else expected[0]
    assert cells[0] == expected[0]
    assert accepted in cells
    assert [" ".join(row[1].split()) for row in found.rows if row[0] == "W09"] == [shown]
    assert {len(row) for row in found.rows} <= {2, 4, 6}


@parsed_by_both
@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_a_fragment_of_markup_is_text(parser, fragment):
    check_is_text(parser, fragment)


@parsed_by_both
@given(text=texts)
@settings(max_examples=60)
def test_strangers_texts_are_text(parser, text):
    check_is_text(parser, text)


def test_nothing_but_line_breaks_and_printable_characters_is_written():
    text = markdown([audit_of(finding(layer=NASTY, message=NASTY, do=NASTY), label=NASTY)], ON)
    assert text.replace("\n", "").replace("\N{VARIATION SELECTOR-16}", "").isprintable()


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize("most", [2_000, 20_000, LONGEST])
@pytest.mark.parametrize("severity", ["error", "note"])
def test_a_comment_is_no_longer_than_github_takes(most, severity):
    audits = [
        audit_of(finding(message="m" * 300, severity=severity), label=f"models/{n}.onnx", not_run=[("A01", "w" * 400)])
        for n in range(400)
    ]
    text = markdown(audits, ON, most)
    assert most - 1_200 < len(text.encode()) <= most
    models = len(re.findall(r"^\| [❌✅] \|", text, re.MULTILINE))
    shown = text.count("| W01 |")
    said = f"{400 - models:,} models and " if models < 400 else ""
    assert text.endswith(f"\nand {said}{400 - shown:,} findings more: `onnxviz audit -o audit.json` has all\n")
    assert Page(PARSERS[0](text)).inside == []


def test_what_is_collapsed_counts_for_as_many_as_it_is():
    audits = [
        audit_of(*(finding(layer=f"l{n}", message="m" * 300) for n in range(50)), label=f"{n}") for n in range(99)
    ]
    text = markdown(audits, ON)
    shown = 50 * text.count("in 50 layers")
    assert 0 < shown < 50 * 99
    assert f"and {50 * 99 - shown:,} findings more" in text


def test_a_text_that_fits_is_whole():
    whole = markdown(sample_audits(), ON)
    assert markdown(sample_audits(), ON, len(whole.encode()) + 1) == whole


@pytest.mark.parametrize("most", [0, 1, 100, 250])
def test_where_not_even_the_end_fits_nothing_is_said(most):
    text = markdown([audit_of(finding(message="m" * 500))], ON, most)
    assert text == "" or len(text.encode()) <= most
