"""Options that checks take: each check declares what it looks at, and what no chosen check looks at is refused."""

from contextlib import suppress

import onnx
import pytest
from audits import registered
from planted_images import crop_inputs
from quantised import quantise
from samples import CLASSIFIER, MODELS

import onnxviz
from onnxviz.auditing.check import OPTIONS
from onnxviz.auditing.many import Confinement, audit_each
from onnxviz.auditing.registry import load_checks
from onnxviz.auditing.settings import Settings
from onnxviz.auditing.subject import Extras, Subject
from onnxviz.cli import run as command_line
from onnxviz.errors import OnnxvizError, UnheededOptionError
from onnxviz.inputs.samples import ImageOptions
from onnxviz.runtime.session import RunOptions

PHOTOS = MODELS / "photos"
CHECKS = [one for one in load_checks() if one.code != "G00"]  # the process that waits gives G00
_READ = {"labels": "classes", "threads": "provider"}
"""Fields that stand for an option of another name; how noise is prepared besides its size is no option without data."""


def noting(kind, seen, **values):
    """An instance whose fields are noted in `seen` when they are read."""

    class Noting(kind):
        def __getattribute__(self, name):
            seen.add(_READ.get(name, name))
            return super().__getattribute__(name)

    made = Noting(**values)
    seen.clear()
    return made


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The sample classifier, and it as onnxruntime quantises it."""
    path = tmp_path_factory.mktemp("taking") / "int8.onnx"
    quantise(CLASSIFIER, path, [crop_inputs(4)])
    proto = onnx.load(path)
    proto.metadata_props.extend(onnx.load(CLASSIFIER).metadata_props)
    return [onnxviz.load(CLASSIFIER), onnxviz.load(proto)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda one: one.code)
def test_a_check_declares_what_it_reads(check, models):
    """No more, no less: an option that no chosen check declares is refused, and one that any declares is not."""
    read: set[str] = set()
    for model in models:
        seen = [set(), set(), set()]
        given = Extras(
            PHOTOS, {"dog.jpg": 0}, str(CLASSIFIER), "toys:factory", None, "onnxruntime==1.17",
            onnxviz.audit(model, crop_inputs(8), select=["G01"], keep=True).record,
            onnxviz.Golden.of(model, crop_inputs(2)),
        )  # fmt: skip
        subject = Subject(
            model, noting(ImageOptions, seen[0], **vars(ImageOptions.of(model))), noting(RunOptions, seen[1]),
            noting(Extras, seen[2], **vars(given)), Settings(budgets=dict.fromkeys(check.budgets, 1.0)), check,
        )  # fmt: skip
        with suppress(OnnxvizError):
            list(check.run(subject))
        read |= (
            (seen[0] & {"size"}) | (seen[1] & {"provider"}) | (seen[2] & {_READ.get(one, one) for one in vars(given)})
        )
    assert read - {"baseline"} <= check.options, check.takes  # every audit heeds it: what is new and gone is told
    if check.code != "G10":  # it looks at a model with leftovers of training alone
        assert {OPTIONS[use][0] for use in check.takes} <= read


def test_what_a_baseline_keeps_is_of_the_data(classifier):
    """So no check need look at them."""
    assert onnxviz.audit(classifier, PHOTOS, select=["W"], preprocess="torch", keep=True).record is not None
    with pytest.raises(UnheededOptionError, match="looks at data="):
        onnxviz.audit(classifier, PHOTOS, select=["W"])


OPTIONS_GIVEN = {
    "data": PHOTOS, "classes": {"dog.jpg": 0}, "against": str(CLASSIFIER), "source": "toys:factory",
    "weights": "weights.npz", "target": "onnxruntime==1.17", "golden": "vectors",
    "preprocess": "torch", "size": (32, 32), "fit": "crop",
    "background": "black", "provider": "cuda", "threads": 1,
}  # fmt: skip


def test_every_option_that_a_check_may_take_is_tried_below():
    assert OPTIONS_GIVEN.keys() == {option for options in OPTIONS.values() for option in options}


@pytest.mark.parametrize("option", OPTIONS_GIVEN)
@pytest.mark.parametrize("select", ["W", "G01", "I03", "W01,G02"])
def test_what_no_chosen_check_looks_at_is_refused_with_checks_that_do(option, select):
    """Before any model is opened: there is none."""
    chosen = [one for one in CHECKS if one.code.startswith(tuple(select.split(",")))]
    options = {"select": select.split(","), option: OPTIONS_GIVEN[option]}
    if any(option in one.options for one in chosen):
        with pytest.raises(OnnxvizError, match="there is no file"):
            onnxviz.audit("none.onnx", **options)
        return
    first = next(one.code for one in CHECKS if option in one.options)
    said = rf"^no check that was chosen looks at {option}=; {first}\b.* do(es)?: leave out {option}=$"
    with pytest.raises(UnheededOptionError, match=said):
        onnxviz.audit("none.onnx", **options)
    with pytest.raises(UnheededOptionError, match=said):
        audit_each(["none.onnx"], Confinement(), options)


def test_a_usual_value_says_nothing_and_settings_choose_too(classifier, tmp_path):
    usual = {"provider": "cpu", "threads": 0, "preprocess": "auto", "data": None, "memory": 1 << 20}
    assert onnxviz.audit(classifier, select=["W01"], **usual).passed == ("W01",)
    config = tmp_path / "settings.toml"
    config.write_text("[audit]\nselect = ['W']\n")
    with pytest.raises(UnheededOptionError, match="looks at target=; G01 does"):
        onnxviz.audit(classifier, config=config, target="onnxruntime==1.17")
    assert onnxviz.audit(classifier, config=config, select=["G01"], target="onnxruntime==1.17").passed == ("G01",)


def test_a_check_of_a_third_party_declares_too(classifier):
    def run(subject):
        yield subject.finding(subject.extras.target, "do")

    with registered("Z01", run, takes=("target",)):
        (one,) = onnxviz.audit(classifier, select=["Z"], target="a board").findings
        assert one.message == "a board"
    with registered("Z01", run), pytest.raises(UnheededOptionError, match="G01 does"):
        onnxviz.audit(classifier, select=["Z"], target="a board")


def test_on_the_command_line_in_its_spelling(capsys):
    assert command_line(["audit", str(CLASSIFIER), "--select", "W", "--target", "onnxruntime==1.17"]) == 2
    assert (
        capsys.readouterr().err == "error: no check that was chosen looks at --target; G01 does: leave out --target\n"
    )
