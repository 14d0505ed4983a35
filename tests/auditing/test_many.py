"""Many models: what cannot be audited is one finding in one row, and the others' reports are what they are alone."""

import json
import os
import re
import time
from functools import partial

import numpy as np
import onnx
import pytest
from audits import registered, run_on_zeros
from hostile import aborting, array, endless_loop, info, model, node, small, write
from hostile_models import cyclic, flooding, unknown_operator
from protos import classifier_proto

from onnxviz.auditing.audit import audit, document
from onnxviz.auditing.finding import Severity
from onnxviz.auditing.many import Confinement, audit_each
from onnxviz.errors import InputError, OnnxvizError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="confines only where the system can fork")

SELECT = {"select": ("Z", "W01")}


@pytest.fixture
def running():
    """A check that runs each model."""
    with registered("Z01", run_on_zeros):
        yield


@pytest.fixture
def good(tmp_path):
    """Paths of five sound models; one has a NaN."""
    paths = []
    for number in range(5):
        proto = classifier_proto()
        proto.doc_string = f"model {number}"
        if number == 3:
            proto.graph.initializer[0].raw_data = np.full((6, 3, 3, 3), np.nan, np.float32).tobytes()
        paths.append(str(write(tmp_path, proto, f"good{number}.onnx")))
    return paths


def hostile():
    """What a stranger may put into a folder of models: bytes that each break another part."""
    whole = small().SerializeToString()
    return {
        "empty": b"", "text": b"no model\n", "cut short": whole[: len(whole) // 2],
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n", "cycle": cyclic(),
        "html": b"<!DOCTYPE html><html>404</html>", "aborting": aborting(), "endless": endless_loop(),
        "flooding": flooding(), "unknown operator": unknown_operator(),
    }  # fmt: skip


def input_shape(path):
    return [size.dim_value or 1 for size in onnx.load(path).graph.input[0].type.tensor_type.shape.dim][1:]


def line(found):
    """What the one finding of a model that was not audited says."""
    (one,) = found.findings
    assert (one.code, one.severity, found.passed, found.not_run) == ("G00", Severity.ERROR, (), ())
    assert found.head == {}
    assert "\n" not in one.message
    assert one.do
    return one.message


def test_each_model_in_its_order_whatever_ends_first(good):
    found = audit_each(good, Confinement(jobs=3), SELECT | {"select": ("W01",)})
    assert [one.label for one in found] == good
    assert [len(one.findings) for one in found] == [0, 0, 0, 1, 0]
    assert [one.as_dict() for one in found] == [audit(path, select=["W01"]).as_dict() for path in good]


SAYS = {
    "empty": "is empty", "text": "is not an ONNX model", "cut short": "is not an ONNX model", "lfs": "git lfs pull",
    "cycle": "cycle through 2 nodes", "html": "is an HTML page",
    "aborting": "the audit crashed onnx or onnxruntime with SIGABRT, while Z01 was at work",
    "endless": "the audit took more than 5 s: Z01 was at work for ",
}  # fmt: skip
# These can be looked at, and only not be run: onnxruntime says so itself.
LIVES = {"flooding": "bad_alloc|memory", "unknown operator": "Nowhere"}


def test_forty_models_of_which_ten_are_hostile(running, tmp_path):
    """One line each, no longer than the time-out, and the other thirty are what they are without them."""
    good, bad = [], {}
    for number in range(30):
        proto = classifier_proto()
        proto.doc_string = f"model {number}"
        good.append(str(write(tmp_path, proto, f"good{number}.onnx")))
    for name, made in hostile().items():
        bad[name] = str(write(tmp_path, made, f"{name}\x1b[31m\u202e.onnx"))
    mixed = list(good)
    for number, path in enumerate(bad.values()):
        mixed.insert(4 * number + 2, path)
    assert len(mixed) == 40
    limits = Confinement(5.0, jobs=2)
    begin = time.monotonic()
    without = audit_each(good, limits, SELECT)
    taken = time.monotonic() - begin
    found = dict(zip(mixed, audit_each(mixed, limits, SELECT), strict=True))
    assert time.monotonic() - begin < 3 * taken + 5.0 + 2.0 + 10.0
    assert json.dumps(document([found[path] for path in good])) == json.dumps(document(without))
    assert all(one.passed == ("W01", "Z01") for one in without)
    for name, path in bad.items():
        if name in LIVES:
            ((code, why),) = ((one.code, one.why) for one in found[path].not_run)
            assert code == "Z01"
            assert re.search(LIVES[name], why), why
        else:
            said = line(found[path])
            assert SAYS[name] in said, (name, said)
            assert said.isprintable()


def hanging(subject):
    """A check that does not end in this test."""
    time.sleep(600)
    yield from ()


@pytest.mark.parametrize(
    ("code", "uses", "data", "advice"),
    [
        ("W77", {}, False, r"or leave out what may take as long: ignore=\['W77'\]$"),
        ("G77", {"takes": ("noise",)}, False, r"leave out what may take as long: ignore=\['G77', 'W66'\]$"),
        ("G77", {"takes": ("noise",)}, True, r"ignore=\['G77', 'W66'\] and audit it without data=$"),
        ("A00", {"needs": ("data",)}, True, "or fewer images; without data=, the 2 checks that need none end"),
        ("P77", {"needs": ("data",)}, True, r"images, or leave the check out \(ignore=\['P77'\]\); without data="),
    ],
)  # fmt: skip
def test_who_runs_out_of_time_is_told_what_helps(good, code, uses, data, advice):
    """And it does: the same audit, changed as it says, comes to its end."""
    array_ = {"data": np.zeros((8, *input_shape(good[0])), np.float32)} if data else {}
    select = ("W01", "W66", "A02", code)

    def quick(subject):
        yield from ()

    with registered(code, hanging, **uses), registered("W66", quick, takes=("session",)):
        (found,) = audit_each(good[:1], Confinement(1.5), {"select": select, **array_})
        before = {"W77": 1, "G77": 1, "A00": 2, "P77": 3}[code]
        wanted = len(select)
        message = line(found)
        said = re.fullmatch(
            rf"the audit took more than 1\.5 s: {code} was at work for ([\d.]+) s, and (\d) of {wanted} checks came "
            "before it",
            message,
        )
        assert said, message
        assert (0 < float(said[1]) < 3, int(said[2])) == (True, before)
        assert re.search(advice, found.findings[0].do), found.findings[0].do
        ignored = re.search(r"ignore=\[(.*?)\]", found.findings[0].do)
        changed = {"ignore": tuple(re.findall(r"\w+", ignored[1]))} if ignored else {}
        kept = {} if "without data=" in found.findings[0].do else array_
        (again,) = audit_each(good[:1], Confinement(20.0), {"select": select, **kept, **changed})
    assert again.codes == tuple(sorted({*select} - {*changed.get("ignore", ())}))
    assert not any(one.code == "G00" for one in again.findings)


def test_opening_that_takes_too_long_is_not_blamed_on_a_check(good, monkeypatch):
    monkeypatch.setattr("onnxviz.auditing.many.load", lambda path: time.sleep(600))
    (found,) = audit_each(good[:1], Confinement(1.0), SELECT | {"select": ("W01",)})
    assert line(found).startswith("the audit took more than 1 s: opening was at work for ")
    assert found.findings[0].do == "give it longer (timeout=): no choice of checks makes this shorter"


def test_a_bug_is_one_row_with_its_place(good):
    def run(subject):
        if "good1" in subject.model.label:
            raise KeyError("a bug of ours")
        yield from ()

    with registered("Z01", run):
        found = audit_each(good[:3], Confinement(), SELECT)
    assert line(found[1]).startswith("the audit met a bug of onnxviz, KeyError: 'a bug of ours' (test_many.py, line ")
    assert found[0].passed == found[2].passed == ("W01", "Z01")


def taking(size, subject):
    """A check that takes memory."""
    assert len(bytearray(size)) == size
    yield from ()


@pytest.mark.parametrize(("size", "fits"), [(900 << 20, True), (1200 << 20, False)])
def test_memory_is_three_times_the_weights_the_batches_and_a_gibibyte(good, size, fits):
    with registered("Z01", partial(taking, size)):
        found = audit_each(good[:2], Confinement(), {**SELECT, "memory": 1 << 20})
    assert (found[0].passed == ("W01", "Z01")) == fits
    assert fits or line(found[0]) == "the audit needed more memory than its limit of 1.0 GiB, while Z01 was at work"


def test_weights_that_are_made_or_lie_elsewhere_count_too(tmp_path):
    """Three times 400 MB, and a GiB: the onnx wheel's light models make theirs when they run."""
    nodes = [node("ConstantOfShape", ["s"], ["w"]), node("Conv", ["x", "w"], ["y"])]
    inputs = [info("x", [1, 1000, 8, 8])]
    path = str(write(tmp_path, model(nodes, [array("s", [10_000, 1000, 3, 3], np.int64)], inputs)))
    with registered("Z01", partial(taking, 1400 << 20)):
        (found,) = audit_each([path], Confinement(), {"select": ("Z",), "memory": 1 << 20})
    assert found.passed == ("Z01",)


def test_a_limit_that_is_given_holds(good):
    with registered("Z01", partial(taking, 300 << 20)):
        small_, large = (
            audit_each(good[:1], Confinement(memory=limit << 20), SELECT)[0] for limit in (250, 350)
        )  # fmt: skip
    assert "limit of 0.2 GiB" in line(small_)
    assert large.passed == ("W01", "Z01")


def test_settings_judge_what_cannot_be_audited_too(good, tmp_path):
    config = tmp_path / "settings.toml"
    config.write_text("[audit]\nseverities = {G00 = 'warning'}\nignore = ['G']\n")
    (tmp_path / "bad.onnx").write_bytes(b"")
    paths = [good[0], str(tmp_path / "bad.onnx")]
    (one,) = audit_each(paths, Confinement(), {"config": config, "select": ("W01",)})[1].findings
    assert (one.code, one.severity, one.reason) == ("G00", Severity.WARNING, "")
    config.write_text("[[audit.accept]]\ncode = 'G00'\nreason = 'a stub'\n")
    assert audit_each(paths, Confinement(), {"config": config, "select": ("W01",)})[1].findings[0].reason == "a stub"


def test_what_no_model_survives_is_an_error_not_a_list(tmp_path, good):
    bad = [str(tmp_path / f"none{number}.onnx") for number in range(3)]
    with pytest.raises(InputError, match=r"^none of 3 models could be audited; the first: there is no file .*none0"):
        audit_each(bad, Confinement(), {})
    with pytest.raises(InputError, match=r"^there is no file .*none0"):
        audit_each(bad[:1], Confinement(), {})
    assert len(audit_each([*bad, good[0]], Confinement(), {"select": ("W01",)})) == 4


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"select": ("W77",)}, "no check is called 'W77'; the nearest is W"),
        ({"provider": "nowhere"}, "there is no provider 'nowhere'"),
        ({"select": ("W",), "target": "onnxruntime==1.17"}, "looks at target=; G01 does: leave out target"),
    ],
)
def test_what_is_wrong_for_all_is_said_before_any_is_opened(good, options, match, monkeypatch):
    monkeypatch.setattr("onnxviz.auditing.many.confined_work", None)
    with pytest.raises(OnnxvizError, match=match):
        audit_each(good, Confinement(), options)


def test_options_are_spelt_as_on_the_command_line(good):
    with pytest.raises(InputError, match=r"takes images of 16x12, not of 9x9: leave out size="):
        audit_each(good[:1], Confinement(), {"select": ("G09",), "size": (9, 9)})


def test_progress_counts_models_and_names_what_is_at_work(good):
    told = []
    audit_each(good, Confinement(), {"select": ("W01",)}, progress=lambda done, what: told.append((done, what)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (5, good[-1])
    assert any(what == f"{good[2]}: W01" for _, what in told)
