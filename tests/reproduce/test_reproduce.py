"""Published results, measured again: verdicts worked by hand, trials that survive, a report that needs nothing else."""

import base64
import importlib
import importlib.util
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import fields
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from command import elman as call
from command import good, one_line
from hypothesis import given
from hypothesis import strategies as st

import elman
from elman.config import TrainSettings
from elman.data.sources.time_machine import FILE, data_home
from elman.reproduce import curves, experiments, page, report, select
from elman.reproduce import trials as cache
from elman.reproduce.experiment import (
    PRINTED,
    Chart,
    ChartSeries,
    Experiment,
    Measurement,
    Result,
    count_verdicts,
)
from elman.reproduce.experiments import clipping, lecture, notes, schedule
from elman.reproduce.experiments.textbook import mean_exp
from elman.reproduce.trials import TrialCache, code_digest

ORDER = tuple(experiments())
BOOK = pytest.mark.skipif(not (data_home() / FILE).exists(), reason="needs The Time Machine (ELMAN_DATA_HOME)")


# --- verdicts


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"measured": (1.0,)}, "not published"),
        # the median decides, both ends of the tolerance included
        ({"published": 1.5, "measured": (1.45,), "tolerance": 0.1}, "agrees"),
        ({"published": 1.3, "measured": (1.35,), "tolerance": 0.05}, "agrees"),  # 1.3 + 0.05 < 1.35 in binary
        ({"published": 1.0, "measured": (0.95,), "tolerance": 0.05}, "agrees"),  # 1.0 - 0.95 > 0.05 in binary
        ({"published": 0.807, "measured": (0.8065,), "tolerance": 0.0005}, "agrees"),
        ({"published": 1.3, "measured": (1.35001,), "tolerance": 0.05}, "differs"),
        ({"published": 1.3, "measured": (1.24999,), "tolerance": 0.05}, "differs"),
        ({"published": 10, "measured": (10,)}, "agrees"),
        ({"published": 10, "measured": (9,)}, "differs"),
        ({"published": 1.5, "measured": (0.1, 1.5, 9.0), "tolerance": 0.1}, "agrees"),
        ({"published": 1.5, "measured": (1.2, 1.8), "tolerance": 0.01}, "agrees"),  # the median of two is their mean
        # the median is outside, and the runs reach the tolerance, touch it, or lie on both sides
        ({"published": 2.5, "measured": (13.988, 0.482, 0.621, 0.315, 0.616), "tolerance": 0.005}, "inconclusive"),
        ({"published": 0.7, "measured": (0.555, 0.461, 0.903, 0.328, 1.49), "tolerance": 0.005}, "inconclusive"),
        ({"published": 1.5, "measured": (1.2, 1.42), "tolerance": 0.1}, "inconclusive"),
        ({"published": 1.5, "measured": (1.2, 1.2, 1.4), "tolerance": 0.1}, "inconclusive"),
        ({"published": 1.5, "measured": (1.6, 1.8, 1.8), "tolerance": 0.1, "better": "lower"}, "inconclusive"),
        ({"published": 1.5, "measured": (1.2, 1.2, 1.39999), "tolerance": 0.1}, "differs"),
        ({"published": 1.5, "measured": (1.60001, 1.8, 1.8), "tolerance": 0.1, "better": "lower"}, "falls short"),
        ({"published": 1.5, "measured": (1.3, 1.8), "better": "lower"}, "inconclusive"),
        # every run is outside, on one side
        ({"published": 1.5, "measured": (1.3,), "tolerance": 0.1}, "differs"),
        ({"published": 1.5, "measured": (1.3,), "tolerance": 0.1, "better": "lower"}, "better"),
        ({"published": 1.5, "measured": (1.3,), "tolerance": 0.1, "better": "higher"}, "falls short"),
        ({"published": 1.5, "measured": (1.7, 1.61), "tolerance": 0.1, "better": "lower"}, "falls short"),
        ({"published": 1.5, "measured": (1.7, 1.61), "tolerance": 0.1, "better": "higher"}, "better"),
        # a mean beside a mean
        ({"published": 2.0, "measured": (1.0, 1.0, 4.0), "tolerance": 0.1, "statistic": "mean"}, "agrees"),
        ({"published": 1.0, "measured": (1.0, 1.0, 4.0), "tolerance": 0.1, "statistic": "mean"}, "inconclusive"),
        ({"published": 1.0, "measured": (2.0, 2.0, 5.0), "tolerance": 0.1, "statistic": "mean"}, "differs"),
        # claims are about every run
        ({"published": 1.0, "measured": (0.9, 1.0), "claim": "at most"}, "agrees"),
        ({"published": 1.0, "measured": (0.9, 1.1), "claim": "at most"}, "inconclusive"),
        ({"published": 1.0, "measured": (1.2, 1.1), "claim": "at most"}, "differs"),
        ({"published": 1.0, "measured": (0.9, 1.2), "claim": "at most", "tolerance": 0.2}, "agrees"),
        ({"published": 1.0, "measured": (1.1, 0.9, 1.1), "claim": "at least"}, "inconclusive"),
        ({"published": 1.0, "measured": (1.1, 1.0), "claim": "at least"}, "agrees"),
        ({"published": 1.0, "measured": (0.99,), "claim": "at least"}, "differs"),
        # what is not finite
        ({"published": 1.0, "measured": (1.1, math.inf)}, "diverged"),
        ({"published": 1.0, "measured": (1.0, 1.0, math.inf)}, "diverged"),
        ({"published": 1.0, "measured": (math.inf,), "claim": "at least"}, "diverged"),
        ({"published": 1.0, "measured": (math.nan,)}, "diverged"),
        ({"published": math.inf, "measured": (math.inf, math.nan)}, "agrees"),
        ({"published": math.inf, "measured": (math.inf, 3.0)}, "inconclusive"),
        ({"published": math.inf, "measured": (3.0,)}, "differs"),
        ({"published": 500.0, "measured": (math.inf, math.inf), "infinite": "never", "better": "lower"}, "falls short"),
        ({"published": 500.0, "measured": (100.0, math.inf), "infinite": "never", "better": "lower"}, "inconclusive"),
        ({"published": 500.0, "measured": (31.0, 30.0), "infinite": "never", "better": "lower"}, "better"),
        ({"published": 500.0, "measured": (math.inf,), "infinite": "never"}, "differs"),
        # the same rule whatever the reference is
        ({"earlier_run": 2.5, "measured": (0.482, 0.621, 2.5), "tolerance": 0.05}, "inconclusive"),
        ({"definition": 0.0, "measured": (1e-7,), "tolerance": 1e-12}, "differs"),
        ({"definition": 0.0, "measured": (0.0,)}, "agrees"),
    ],
)
def test_the_verdict_follows_from_the_figures(facts, verdict):
    assert Measurement(what="x", **facts).verdict == verdict


FIGURES = st.integers(-40, 40).map(lambda n: n / 8)  # exact in binary


@given(
    reference=FIGURES,
    tolerance=st.integers(0, 20).map(lambda n: n / 8),
    measured=st.lists(FIGURES, min_size=1, max_size=6),
    better=st.sampled_from(["lower", "higher", None]),
    statistic=st.sampled_from(["median", "mean"]),
)
def test_a_verdict_is_one_of_the_places_of_the_runs(reference, tolerance, measured, better, statistic):
    """Of fractions, and by cases in place of intervals."""
    exact = [Fraction(m) for m in measured]
    middle = statistics.median(exact) if statistic == "median" else sum(exact) / len(exact)
    away = [max(Fraction(0), abs(m - Fraction(reference)) - Fraction(tolerance)) for m in (*exact, middle)]
    sides = {m > reference for m in measured}
    if away[-1] == 0:
        expected = "agrees"
    elif 0 in away[:-1] or len(sides) == 2:
        expected = "inconclusive"
    elif better is None:
        expected = "differs"
    else:
        expected = "better" if sides == {better == "higher"} else "falls short"
    found = Measurement(
        what="x", published=reference, tolerance=tolerance, measured=tuple(measured), better=better, statistic=statistic
    )
    assert found.verdict == expected


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({}, ""),
        ({"published": 1.0}, "published"),
        ({"published": 1.0, "claim": "at most"}, "claim"),
        ({"published": math.inf}, "claim"),  # that a training diverges is said in words
        ({"earlier_run": 1.0}, "earlier run"),
        ({"earlier_run": 0.0}, "earlier run"),
        ({"definition": 0.0}, "definition"),
    ],
)
def test_a_reference_is_called_what_it_is(facts, kind):
    figure = Measurement(what="x", measured=(1.0,), **facts)
    row = page._row(figure)
    assert figure.kind == row["kind"] == page.cells(row)[2] == kind
    assert (row["published"] is not None) == (kind in {"published", "claim"})
    assert (row["earlier_run"] is not None) == (kind == "earlier run")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"measured": ()}, "give at least one number"),
        ({"measured": (1.0,), "tolerance": -0.1}, "at least 0"),
        ({"measured": (1.0,), "tolerance": math.nan}, "at least 0"),
        ({"measured": (1.0,), "published": 1.0, "earlier_run": 1.0}, "give one of"),
    ],
)
def test_what_no_verdict_follows_from_is_refused(facts, message):
    with pytest.raises(elman.errors.ConfigError, match=message):
        Measurement(what="x", **facts)


def test_verdicts_are_counted_by_the_kind_of_their_reference():
    figures = [
        Measurement(what="a", published=1.0, measured=(1.0,)),
        Measurement(what="b", published=1.0, measured=(2.0,)),
        Measurement(what="c", published=1.0, measured=(3.0,)),
        Measurement(what="d", earlier_run=1.0, measured=(1.0,)),
        Measurement(what="e", measured=(1.0,)),
    ]
    found = count_verdicts(map(page._row, figures))
    assert found == {"published": {"agrees": 1, "differs": 2}, "earlier run": {"agrees": 1}}
    assert page.verdict_table({"verdicts": found}) == [
        ["kind", "figures", "agrees", "differs"],
        ["published", "3", "1", "2"],
        ["earlier run", "1", "1", "0"],
    ]


def test_an_explanation_is_shown_where_it_does_not_agree():
    for measured, shown in ((1.0, False), (2.0, True)):
        row = page._row(Measurement(what="x", published=1.0, measured=(measured,), note="of note", explained="because"))
        assert page.cells(row)[-1] == ("of note; because" if shown else "of note")


def test_figures_as_they_are_written():
    figure = Measurement(what="x", published=1.17, measured=(1.12, 1.16, 1.13), tolerance=0.1, number_format=".2f")
    assert (page.format_reference(figure), page.format_measured(figure)) == ("1.17 ± 0.1", "1.13 (1.12..1.16)")
    share = Measurement(what="x", published=0.807, measured=(0.836,), tolerance=0.05, number_format=".1%")
    assert (page.format_reference(share), page.format_measured(share)) == ("80.7% ± 5%", "83.6%")
    claim = Measurement(what="x", published=1.0, measured=(0.8,), claim="at most", tolerance=0.1, number_format=".1f")
    assert (page.format_reference(claim), page.format_measured(claim)) == ("at most 1.0 ± 0.1", "0.8")
    never = Measurement(what="x", published=500, measured=(31, math.inf, 30), infinite="never", number_format=".0f")
    assert (page.format_reference(never), page.format_measured(never)) == ("500", "31 (30..never)")
    mean = Measurement(what="x", earlier_run=2.5, measured=(1.0, 1.0, 4.0), statistic="mean", number_format=".1f")
    assert (page.format_reference(mean), page.format_measured(mean)) == ("2.5", "mean 2.0 (1.0..4.0)")
    assert page.format_reference(Measurement(what="x", measured=(1.0,))) == ""


@pytest.mark.parametrize(
    ("published", "tolerance", "number_format", "written"),
    [
        (1.0, 0.05, ".3f", "1.0 ± 0.05"),
        (1.271, 0.0005, ".2f", "1.271 ± 0.0005"),
        (0.457, 0.0005, ".2%", "45.7% ± 0.05%"),
        (0.5, 0.005, ".1%", "50% ± 0.5%"),
        (10, 0.5, ".2f", "10 ± 0.5"),
        (1.2e8, 5e6, ".3g", "1.2e+08 ± 5e+06"),
    ],
)
def test_a_reference_is_written_with_the_digits_that_were_printed(published, tolerance, number_format, written):
    figure = Measurement(
        what="x", published=published, measured=(1.0,), tolerance=tolerance, tolerance_from=PRINTED,
        number_format=number_format,
    )  # fmt: skip
    assert page.format_reference(figure) == written


# --- trials


def square(x: float, seed: int) -> dict:
    """A trial that tells how often it was asked."""
    ASKED.append((x, seed))
    if x < 0:
        raise KeyboardInterrupt
    return {"square": x * x, "seed": seed, "pair": (1, 2)}


ASKED: list[tuple[float, int]] = []


@pytest.fixture
def asked():
    ASKED.clear()
    return ASKED


def test_a_trial_is_measured_once_for_its_arguments(tmp_path, asked):
    for _ in range(2):
        runner = TrialCache(tmp_path)
        assert runner.trial(square, x=3.0, seed=1) == {"square": 9.0, "seed": 1, "pair": [1, 2]}
    assert runner.trial(square, seed=1, x=3.0)["square"] == 9.0  # the order of arguments says nothing
    assert runner.trial(square, x=3.0, seed=2)["seed"] == 2
    assert asked == [(3.0, 1), (3.0, 2)]


def test_an_interruption_loses_nothing_that_was_finished(tmp_path, asked):
    with pytest.raises(KeyboardInterrupt):
        TrialCache(tmp_path, quick=True).trials(square, [{"x": x, "seed": 0} for x in (1.0, 2.0, -1.0, 4.0)])
    asked.clear()
    found = TrialCache(tmp_path, quick=True).trials(square, [{"x": x, "seed": 0} for x in (1.0, 2.0, 4.0)])
    assert [f["square"] for f in found] == [1.0, 4.0, 16.0]
    assert asked == [(4.0, 0)]


def test_a_damaged_trial_is_told_and_measured_again(tmp_path, asked):
    TrialCache(tmp_path).trial(square, x=3.0, seed=1)
    (path,) = (tmp_path / "trials").iterdir()
    path.write_text(path.read_text()[:-20])
    said: list[str] = []
    assert TrialCache(tmp_path, on_progress=said.append).trial(square, x=3.0, seed=1)["square"] == 9.0
    assert len(asked) == 2
    assert any("cannot be read" in line for line in said)


def test_fresh_measures_once_more_and_no_oftener(tmp_path, asked):
    TrialCache(tmp_path).trial(square, x=3.0, seed=1)
    runner = TrialCache(tmp_path, fresh=True)
    for _ in range(2):
        runner.trial(square, x=3.0, seed=1)
    assert len(asked) == 2


def test_other_code_and_another_place_are_other_trials(monkeypatch):
    names = {cache._file(square, {"x": 1}, "code"), cache._file(square, {"x": 1}, "other code")}
    names.add(cache._file(statistics.median, {"x": 1}, "code"))
    monkeypatch.setattr(cache.inspect, "getsource", lambda _: "return x ** 2")
    names.add(cache._file(square, {"x": 1}, "code"))
    monkeypatch.setattr(cache.metadata, "version", lambda _: "9.9")
    names.add(cache._file(square, {"x": 1}, "code"))
    monkeypatch.setenv("ELMAN_INSTRUCTIONS", "plain")
    names.add(cache._file(square, {"x": 1}, "code"))
    assert len(names) == 6
    assert sum(name.startswith("test_reproduce.square-") for name in names) == 5


def test_the_digest_is_of_every_source_and_of_the_engine(tmp_path):
    (tmp_path / "deep").mkdir()
    digests = [code_digest(tmp_path)]
    for name, content in (
        ("a.py", "x = 1"), ("a.py", "x = 2"), ("a.pyi", "x: int"), ("deep/b.py", ""), ("c.py", "d.py"),
        ("deep/_native.so", "ELF"), ("deep/_native.so", "ELf"), ("deep/_native.pyd", "ELf"),
    ):  # fmt: skip
        (tmp_path / name).write_text(content)
        digests.append(code_digest(tmp_path))
    (tmp_path / "c.py").rename(tmp_path / "e.py")
    digests.append(code_digest(tmp_path))
    assert len(set(digests)) == len(digests)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("x")
    assert code_digest(tmp_path) == digests[-1]
    assert len(code_digest()) == 64


MEASURED = """
import elman

def trained(seed):
    corpus = elman.read_corpus(["human-numbers"], limit=300, held_out=60)
    model = elman.Recurrent(elman.TextTask.of(corpus), cell="elman", hidden=4, seed=seed)
    elman.fit(model, corpus.train, optimizer="sgd", lr=1, clip=0.01, steps=3, batch=4, window=8, seed=seed)
    return float(sum(p.detach().double().square().sum() for p in model.parameters()))
"""
ELSEWHERE = """
import pathlib, sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__]
import measure
from elman.reproduce.trials import TrialCache
print(TrialCache(pathlib.Path(sys.argv[1]), on_progress=print).trial(measure.trained, seed=0))
"""


def test_a_change_of_clipping_keeps_no_old_figure(tmp_path, monkeypatch):
    """A copy of the package in which gradients are no longer clipped: the same trial is measured anew."""
    package, folder = tmp_path / "elman", tmp_path / "report"
    shutil.copytree(Path(elman.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    assert code_digest(package) == code_digest(), "wherever it is installed"
    (tmp_path / "measure.py").write_text(MEASURED)
    monkeypatch.syspath_prepend(str(tmp_path))
    measure = importlib.import_module("measure")
    before = TrialCache(folder).trial(measure.trained, seed=0)
    source = package / "training" / "optim.py"
    text = source.read_text(encoding="utf-8")
    assert text.count("def clip_gradients(") == 1
    source.write_text(text.replace("def clip_gradients(", "def _old(") + UNCLIPPED, encoding="utf-8")
    assert code_digest(package) != code_digest()
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, folder], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert any("CPU seconds" in line for line in said), "it was not measured"
    assert float(said[-1]) != before
    assert len(list((folder / "trials").iterdir())) == 2
    assert TrialCache(folder, on_progress=pytest.fail).trial(measure.trained, seed=0) == before
    monkeypatch.delitem(sys.modules, "measure")


UNCLIPPED = """

def clip_gradients(named, limit):
    return _old(named, 1e9)
"""


def test_what_is_measured_while_the_code_changes_is_not_kept(tmp_path, monkeypatch, asked):
    runner = TrialCache(tmp_path)
    digests = iter([runner.code, "another"])
    monkeypatch.setattr(cache, "code_digest", lambda: next(digests))
    with pytest.raises(elman.errors.ConfigError, match="was changed"):
        runner.trial(square, x=3.0, seed=1)
    assert len(asked) == 1
    assert not list((tmp_path / "trials").iterdir())
    monkeypatch.setattr(cache, "code_digest", lambda: "another")
    with pytest.raises(elman.errors.ConfigError, match="run the command again"):
        runner.trial(square, x=3.0, seed=1)
    assert len(asked) == 1, "nothing is measured for nothing"


def test_seconds_are_those_of_the_trials_whether_read_or_measured(tmp_path, monkeypatch):
    clock = iter([0.0, 2.5])
    monkeypatch.setattr(cache.time, "process_time", lambda: next(clock))
    first, second = TrialCache(tmp_path), TrialCache(tmp_path)
    first.trial(square, x=3.0, seed=1)
    second.trial(square, x=3.0, seed=1)
    assert first.cpu_seconds == second.cpu_seconds == 2.5


def test_several_trials_run_in_other_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.os, "cpu_count", lambda: 2)
    with TrialCache(tmp_path) as runner:
        found = runner.trials(statistics.median, [{"data": [1, 2, 9]}, {"data": [4, 6]}])
        assert runner._pool is not None
    assert found == [2, 5]
    assert len(list((tmp_path / "trials").iterdir())) == 2


def test_numbers_that_json_lacks_come_back():
    value = {"a": [1.5, math.inf, -math.inf], "b": {"c": math.nan, "text": "so"}}
    back = cache.decode_numbers(json.loads(json.dumps(cache.encode_numbers(value), allow_nan=False)))
    assert back["a"] == value["a"]
    assert math.isnan(back["b"]["c"])
    assert back["b"]["text"] == "so"


# --- the command


class Quick:
    """Every experiment, with a few steps: what the command printed, what it wrote, and where its trials are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = good("reproduce", "all", "--quick", "--report", folder).out
        self.json = json.loads((folder / "reproduce.json").read_text(encoding="utf-8"))
        self.html = (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return Quick(tmp_path_factory.mktemp("reproduce") / "quick")


@BOOK
def test_every_experiment_runs_and_is_printed_with_its_lessons(quick):
    assert [e["name"] for e in quick.json["experiments"]] == list(ORDER)
    assert quick.json["quick"] is True
    for each in quick.json["experiments"]:
        assert f"{each['name']}: {each['title']}" in quick.out
        assert each["figures"]
        assert each["lessons"]
        assert all(lesson in quick.out for lesson in each["lessons"])
        assert len({row["what"] for row in each["figures"]}) == len(each["figures"])


@BOOK
def test_the_json_says_all_that_a_verdict_follows_from(quick):
    words = {"diverges": math.inf, "never": math.inf}
    rows = [row for e in quick.json["experiments"] for row in e["figures"]]
    assert any(row["verdict"] == "agrees" for row in rows)
    for row in rows:
        figure = Measurement(
            what=row["what"],
            measured=tuple(words.get(m, m) for m in row["measured"]),
            **{name: words.get(row[name], row[name]) for name in ("published", "earlier_run", "definition")},
            **{name: row[name] for name in ("claim", "tolerance", "better", "infinite", "statistic")},
        )
        assert figure.verdict == row["verdict"], row
        assert figure.kind == row["kind"], row
    assert quick.json["verdicts"] == count_verdicts(rows)
    assert quick.json["code_sha256"] == code_digest()
    assert all(json.loads(t.read_text())["code_sha256"] == code_digest() for t in (quick.folder / "trials").iterdir())
    assert f"code {code_digest()[:12]}" in quick.html


@BOOK
def test_every_tolerance_says_where_it_comes_from(quick):
    for row in (row for e in quick.json["experiments"] for row in e["figures"]):
        assert bool(row["tolerance"]) == bool(row["tolerance_from"]), row


@BOOK
def test_the_same_command_measures_nothing_again(quick, monkeypatch):
    monkeypatch.setattr(cache, "_measured", lambda _: pytest.fail("measured again"))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # pictures would take longest
    again = good("reproduce", "recipe", "lecture", "--quick", "--report", quick.folder, "--json", "-q")
    assert again.err == ""
    assert again.json["experiments"] == [e for e in quick.json["experiments"] if e["name"] in {"lecture", "recipe"}]
    assert again.json["command"].startswith("elman reproduce recipe lecture --quick --report ")
    assert again.json["environment"]["torch"] == torch.__version__


@BOOK
def test_trials_are_judged_again_without_the_code_that_measured_them(quick, tmp_path, monkeypatch):
    """After a change of a tolerance: the figures, and the digest of the code that measured, stay."""
    spec = importlib.util.spec_from_file_location("judge", Path(__file__).parents[2] / "tools" / "judge.py")
    judge = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(judge)
    shutil.copytree(quick.folder, tmp_path / "report")
    (tmp_path / "report" / "reproduce.json").write_text(json.dumps(quick.json), encoding="utf-8")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(cache, "code_digest", lambda: "another")
    monkeypatch.setattr(notes, "TOLERANCE", 1e9)
    judge.judge(tmp_path / "report")
    found = json.loads((tmp_path / "report" / "reproduce.json").read_text(encoding="utf-8"))
    assert found["code_sha256"] == quick.json["code_sha256"] != "another"
    after, before = (
        [(f["what"], f["measured"]) for e in of["experiments"] for f in e["figures"]] for of in (found, quick.json)
    )
    assert after == before
    (rows,) = (e["figures"] for e in found["experiments"] if e["name"] == "notes")
    assert {row["verdict"] for row in rows if row["tolerance"] == 1e9} == {"agrees"}
    for trial in (tmp_path / "report" / "trials").glob("notes.*"):
        trial.unlink()
    with pytest.raises(elman.errors.ConfigError, match="was changed"):
        judge.judge(tmp_path / "report")


def test_the_experiments_are_found_in_their_order_and_named_as_their_modules():
    assert ORDER == (
        "lecture", "notes", "recipe", "textbook", "clipping", "schedule", "overfitting",
        "corpus", "smoothing", "markov", "reverse", "bidirectional", "sine", "counting", "fooling",
    )  # fmt: skip
    assert [e.name for e in select(["sine", "notes", "sine"])] == ["notes", "sine"]
    assert len({e.order for e in select(["all"])}) == len(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_every_source_is_cited_by_author_and_year(name):
    cited = {"Smola and Li 2019", "Zhang et al. 2021", "Zhang et al. 2023", "Howard and Thomas 2019"}
    assert any(key in experiments()[name].source for key in cited)


def test_the_list_says_what_there_is():
    out = good("reproduce").out
    assert all(f"{name} " in out for name in ORDER)
    assert [e["name"] for e in good("reproduce", "--json").json["experiments"]] == list(ORDER)
    assert all(len(e.title) < 90 and e.name == name for name, e in zip(ORDER, select(["all"]), strict=True))


def test_a_name_that_does_not_exist_is_refused_with_the_nearest(tmp_path):
    done = call("reproduce", "lectrue", folder=tmp_path)
    assert done.code == 2
    assert one_line(done).startswith(
        "there is no experiment 'lectrue' (did you mean lecture?): choose one of lecture, notes"
    )
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_measured_is_told_and_the_others_are(tmp_path, monkeypatch):
    def fail(_):
        raise elman.errors.DataError("there is no book: put one there")

    broken = Experiment(name="lecture", title="t", source="s", order=1, minutes=1, run=fail)
    monkeypatch.setattr(lecture, "EXPERIMENT", broken)
    monkeypatch.setattr(notes, "EXPERIMENT", fake("notes"))
    done = call("reproduce", "lecture", "notes", "--report", tmp_path / "r", "-q")
    assert done.code == 3
    assert done.err == "elman: lecture: there is no book: put one there\n"
    assert [e["name"] for e in json.loads((tmp_path / "r" / "reproduce.json").read_text())["experiments"]] == ["notes"]


# --- the report


def fake(name: str = "fake") -> Experiment:
    """An experiment whose every word is awkward."""
    figures = (
        Measurement(
            what="a | b <script>alert(1)</script>", published=2.0, measured=(2.0,), headline=True, note='"quoted" & so'
        ),
        Measurement(what="c", published=math.inf, measured=(math.inf,)),
    )
    lines = [
        ChartSeries(label="l", x=[1, 2, 3], y=[3.0, math.inf, 1.0]),
        ChartSeries(label="", x=[1, 2], y=[1.0, 2.0], style="points"),
    ]
    charts = (
        Chart(name="one", title="One <title>", x="epoch", y="y", series=lines, bounds={"limit": 2.0}, log="y"),
        Chart(
            name="two",
            title="Two",
            x="",
            y="y",
            series=[ChartSeries(label="", x=["a", "b"], y=[1.0, 2.0], style="bars")],
        ),
    )
    result = Result(
        measurements=figures, lessons=("Learn <b>this</b>.",), charts=charts, texts=(("A text", "<i> | é"),)
    )
    return Experiment(name=name, title="Of <things>", source="somebody & co", order=2, minutes=1, run=lambda _: result)


class Page(HTMLParser):
    """The tags of a page, which must close in the order in which they open."""

    EMPTY = frozenset({"meta", "img", "br", "link", "hr", "wbr"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def assert_self_contained(text: str) -> Page:
    """Nothing is fetched and nothing runs."""
    found = Page(text)
    assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in found.tags}
    for tag, attrs in found.tags:
        assert not any(name.startswith("on") for name in attrs), tag
        assert all(attrs[name].startswith(("data:image/png;base64,", "#")) for name in ("src", "href") if name in attrs)
    assert "url(" not in text
    assert "@import" not in text
    for image in found.all("img"):
        picture = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"), validate=True)
        assert picture.startswith(b"\x89PNG\r\n")
        assert image["alt"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in found.all("meta")
    ids = {attrs["id"] for _, attrs in found.tags if "id" in attrs}
    assert all(a["href"][1:] in ids for a in found.all("a"))
    return found


def test_the_page_escapes_everything_and_inlines_its_pictures(tmp_path):
    found = report.Report(tmp_path, command="elman x", quick=False, code="c0de").add(fake(), fake().run(None), 90.0)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    seen = assert_self_contained(text)
    assert len(seen.all("img")) == 2
    for words in ("a | b <script>alert(1)</script>", '"quoted" & so', "One <title>", "Learn <b>this</b>.", "<i> | é"):
        assert words in seen.text
    assert seen.text.count("1.5 CPU minutes") == 1
    assert page.QUICK not in seen.text
    assert {"fake-one.png", "fake-two.png", *report.FILES} == {p.name for p in tmp_path.iterdir()}
    assert found["figures"][1]["published"] == "diverges"
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| a \\| b &lt;script>alert(1)&lt;/script> | 2.000 | published | 2.000 | 1 | agrees |" in markdown
    assert "![One &lt;title>](fake-one.png)" in markdown


@BOOK
def test_the_page_of_all_experiments_is_self_contained(quick):
    found = assert_self_contained(quick.html)
    assert page.QUICK in found.text
    assert [a["id"] for a in found.all("section")] == list(ORDER)
    assert len(found.all("img")) >= len(ORDER)
    tables = [attrs for attrs in found.all("div") if attrs.get("class") == "scroll"]
    assert len(found.all("table")) == len(tables) == len(ORDER) + 2


def test_without_matplotlib_there_is_a_report_and_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(lecture, "EXPERIMENT", fake("lecture"))
    done = good("reproduce", "lecture", "--report", tmp_path / "r")
    assert 'no pictures: pip install "elman[plot]"' in done.err
    assert not assert_self_contained((tmp_path / "r" / "report.html").read_text(encoding="utf-8")).all("img")


# --- what is measured


def test_points_of_curves_worked_by_hand():
    found = {"epochs": [1, 2, 3, 4, 5], "train": [9.0, 4.0, 7.0, 2.0, 3.5], "cpu": [1.0, 2.0, 3.0, 4.0, 5.0]}
    assert [curves.perplexity_at(found, e) for e in (1, 4, 5, 9)] == [9.0, 2.0, 3.5, 3.5]
    assert [curves.cost_to_reach(found, level) for level in (9.0, 4.5, 2.0, 1.0)] == [1, 2, 4, math.inf]
    assert curves.cost_to_reach(found, 2.0, "cpu") == 4.0
    assert curves.local_change([found], 3, shift=1) == 5.0
    assert schedule.rise(found) == 1.5  # after epoch 3 the lowest so far is 2.0
    assert schedule.rise(found, 2) == 1.5  # epochs 2 and 4, and the last
    assert schedule.rise(found, 3) == 0.0  # epoch 3 lies higher than the last
    assert schedule.rise(found, 50) == 0.0
    assert [curves.lowest_plotted(found, n) for n in (1, 2, 3, 50)] == [2.0, 2.0, 7.0, 3.5]
    assert mean_exp([0.0, math.log(3)]) == pytest.approx(2.0)


def test_a_curve_that_diverges_ends_with_infinity():
    corpus = elman.read_corpus(["human-numbers"], tokens="char", limit=2000)
    model = elman.Recurrent(elman.TextTask.of(corpus), cell="elman", hidden=8)
    found = curves.train_curve(
        model, corpus.train, None, optimizer="sgd", lr=1e6, clip=0, schedule="constant", batch=4, window=16, epochs=5
    )
    assert found["train"][-1] == found["norms"][-1] == math.inf
    assert "diverged at step" in found["diverged"]
    assert len(found["epochs"]) == len(found["train"])


@pytest.mark.parametrize(
    ("recipe", "train"),
    [
        ("lecture", lambda: lecture.train("sequential", epochs=1, seed=0, hidden=4)),
        ("notes", lambda: notes.train("elman", 4, "reference", "sequential", epochs=1, seed=0)),
        ("notes-concise", lambda: notes.train("elman", 4, "torch", "sequential", epochs=1, seed=0)),
    ],
)
@BOOK
def test_the_sources_are_trained_as_the_recipes_say(recipe, train, monkeypatch):
    seen = {}

    def instead(model, text, held_out, settings):
        seen.update(model=model, text=text, settings=settings)
        return iter(())

    monkeypatch.setattr(elman, "train", instead)
    train()
    config = elman.Config.resolve(("test", {"recipe": recipe}))
    for field in fields(TrainSettings):
        if field.name not in {"epochs", "seed", "num_reports", "final_weights", "weight_decay"}:
            assert getattr(seen["settings"], field.name) == getattr(config, field.name), field.name
    assert seen["model"].config.init == config.init
    assert len(seen["text"].ids) == config.limit - config.held_out
    assert seen["model"].layers[0].b_h.requires_grad == (config.init == "torch")


def test_one_bias_is_the_same_network():
    task = elman.TextTask(elman.Vocab.chars("abc"))
    two, one = (elman.Recurrent(task, cell="gru", hidden=4, init="reference", seed=3) for _ in range(2))
    curves.freeze_second_bias(one)
    inputs = torch.tensor([[1, 2, 3, 1]])
    assert torch.equal(one(inputs, one.initial(1))[0], two(inputs, two.initial(1))[0])
    assert two.parameter_count() - one.parameter_count() == 3 * 4


def test_how_far_gradients_reach_is_what_moving_a_state_does(monkeypatch):
    """Against central differences: the cost of the last character when the state k steps before it is moved."""
    monkeypatch.setattr(clipping, "ROWS", 5)
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 4, 400).astype(np.uint8)
    model = elman.Recurrent(elman.TextTask(elman.Vocab.chars("abc")), cell="elman", hidden=3, seed=1).double()
    found = clipping.reach(model, ids)
    assert found[0] == 1.0

    def norm(k: int) -> float:
        total = 0.0
        for start in np.linspace(1, len(ids) - clipping.WINDOW, clipping.ROWS).astype(np.int64):
            window = torch.from_numpy(ids[start - 1 : start + clipping.WINDOW].astype(np.int64))[None]
            with torch.no_grad():
                _, (state,) = model(window[:, : -1 - k], model.initial(1))
                slopes = []
                for unit in range(3):
                    ends = []
                    for step in (1e-5, -1e-5):
                        moved = state.clone()
                        moved[0, unit] += step
                        logits, _ = model(window[:, -1 - k : -1], (moved,))
                        ends.append(float(torch.nn.functional.cross_entropy(logits[0, -1], window[0, -1])))
                    slopes.append((ends[0] - ends[1]) / 2e-5)
            total += math.hypot(*slopes)
        return total / clipping.ROWS

    assert found[2] == pytest.approx(norm(clipping.BACK[2]) / norm(1), rel=1e-4)
