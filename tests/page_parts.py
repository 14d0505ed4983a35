"""Pages read back with the standard library's parser, and pages whose every word is hostile."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from itertools import count

from audits import audit_of, finding

from onnxviz.auditing.finding import Severity
from onnxviz.predictions.prediction import ClassShare, OutputPrediction, Prediction
from onnxviz.reports.layer_rows import LayerRow
from onnxviz.reports.model_card import Fact, ModelCard
from onnxviz.reports.page import AnswerCard, LayerTable, Page, audit_part

VOID = {"meta", "img", "input", "br", "path", "rect", "wbr"}


class Element:
    """An element: its tag, attributes, and what is inside."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag, self.attributes = tag, attributes
        self.inside: list[Element | str] = []

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]

    @property
    def text(self) -> str:
        return "".join(one if isinstance(one, str) else one.text for one in self.inside)

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        """Those below of a tag that have attributes, `data_key="x"` for `data-key`; True for any value."""
        found = []
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        for one in self.inside:
            if isinstance(one, str):
                continue
            fits = all(
                name in one.attributes and (value is True or value in (one[name], *one[name].split()))
                for name, value in wanted.items()
            )
            if fits and one.tag in (tag or one.tag, ""):
                found.append(one)
            found += one.all(tag, **attributes)
        return found

    def one(self, tag: str = "", **attributes: str) -> Element:
        (found,) = self.all(tag, **attributes)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("", {})]

    def handle_starttag(self, tag, attrs):
        made = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(made)
        if tag not in VOID:
            self.open.append(made)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].inside.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
            self.open.pop()

    def handle_data(self, data):
        self.open[-1].inside.append(data)


def read(html: str) -> Element:
    """The page as a tree; every element that is opened is closed."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader.open) == 1, [one.tag for one in reader.open]
    return reader.open[0]


HOSTILE = (
    "<script>window.ran={n}</script>",
    '"><img src="https://example.org/{n}.png" onerror="window.ran={n}">',
    "' onmouseover='window.ran={n}' x='",
    "</title></style></script><script>window.ran={n}</script>",
    "<svg/onload=window.ran={n}>",
    "javascript:window.ran={n}",
    "{{{{ {n} * 7 }}}}{{% raw %}}",
    "<!-- {n} --><iframe src=//example.org/{n}></iframe>",
    "\u202e\u2066{n}\u2069 mirrored \x00\x07\x1b[31m",
    "lone \ud800 surrogate {n} \udfff",
    "<link rel=stylesheet href=https://example.org/{n}.css><base href=//example.org>",
    "<meta http-equiv=refresh content='0;url=https://example.org/{n}'>",
    "&lt;script&gt;{n}&#60;b&#62; &amp;amp;",
    "`<b>{n}</b>` and `<i>` unbalanced `",
    "{n} " + "long" * 700,
    "url(https://example.org/{n}) expression(window.ran={n}) </div></table>",
)


def hostile_page() -> tuple[Page, list[str]]:
    """A page of a thousand hostile names, messages, labels and entries; and those strings."""
    numbers, used = count(), []

    def evil() -> str:
        n = next(numbers)
        used.append(HOSTILE[n % len(HOSTILE)].format(n=f"9{n:04d}"))
        return used[-1]

    findings = [
        finding(code, "warning", evil(), do=evil(), layer=evil(), where=evil())
        for code in ("W01", "G01")
        for _ in range(30)
    ]
    accepted = [finding("W02", "error", evil(), reason=evil(), layer=evil()) for _ in range(30)]
    not_run = [("P01", evil()) for _ in range(60)]
    part = audit_part(audit_of(*findings, *accepted, label=evil(), not_run=not_run), Severity.ERROR, 1)
    facts = [tuple(Fact(evil(), evil(), evil()) for _ in range(6)) for _ in range(5)]
    card = ModelCard(*facts, tuple((evil(), evil()) for _ in range(40)), 0)
    rows = [LayerRow(n, evil(), evil(), evil(), evil(), n, None) for n in range(75)]
    answers = []
    for _ in range(10):
        top = tuple(ClassShare(n, evil(), 1.0, 0.5) for n in range(5))
        output = OutputPrediction(evil(), (5,), "classes", evil(), top)
        answers.append(AnswerCard(Prediction(evil(), (output, output)), None))
    part = replace(
        part, card=card, table=LayerTable(rows, 0, None), answers=answers, remarks=[evil() for _ in range(20)],
        left_out=[(evil(), evil()) for _ in range(20)],
    )  # fmt: skip
    return Page([part], "0"), used
