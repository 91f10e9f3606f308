"""Published results, measured again: verdicts worked by hand, trials that survive, a report that needs nothing else."""

import base64
import json
import math
import statistics
import sys
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from command import elman as call
from command import good, one_line

import elman
from elman.config import TrainSettings
from elman.data.sources.time_machine import FILE, data_home
from elman.reproduce import curves, experiments, page, report, select
from elman.reproduce import trials as cache
from elman.reproduce.experiment import Chart, ChartSeries, Experiment, Measurement, Result
from elman.reproduce.experiments import clipping, lecture, notes, schedule
from elman.reproduce.experiments.textbook import mean_exp
from elman.reproduce.trials import TrialCache

ORDER = tuple(experiments())
BOOK = pytest.mark.skipif(not (data_home() / FILE).exists(), reason="needs The Time Machine (ELMAN_DATA_HOME)")


# --- verdicts


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"published": None, "measured": (1.0,)}, "not published"),
        ({"published": 1.5, "measured": (1.45,), "tolerance": 0.1}, "agrees"),
        (
            {"published": 1.5, "measured": (1.2, 1.42), "tolerance": 0.1},
            "agrees",
        ),  # between the seeds and the tolerance
        ({"published": 1.5, "measured": (1.3,), "tolerance": 0.1}, "differs"),
        ({"published": 1.5, "measured": (1.3,), "tolerance": 0.1, "better": "lower"}, "better"),
        ({"published": 1.5, "measured": (1.3,), "tolerance": 0.1, "better": "higher"}, "falls short"),
        ({"published": 1.5, "measured": (1.7, 1.61), "tolerance": 0.1, "better": "lower"}, "falls short"),
        ({"published": 1.5, "measured": (1.7, 1.61), "tolerance": 0.1, "better": "higher"}, "better"),
        ({"published": 1.5, "measured": (1.3, 1.7), "better": "lower"}, "agrees"),  # one run of an unknown seed
        ({"published": 1.0, "measured": (0.9, 1.0), "claim": "at most"}, "agrees"),
        ({"published": 1.0, "measured": (0.9, 1.1), "claim": "at most"}, "differs"),
        ({"published": 1.0, "measured": (0.9, 1.1), "claim": "at most", "tolerance": 0.2}, "agrees"),
        ({"published": 1.0, "measured": (1.1, 0.9), "claim": "at least"}, "differs"),
        ({"published": 1.0, "measured": (1.1, 1.0), "claim": "at least"}, "agrees"),
        ({"published": 1.0, "measured": (1.1, math.inf)}, "diverged"),
        ({"published": 1.0, "measured": (math.nan,)}, "diverged"),
        ({"published": math.inf, "measured": (math.inf, math.inf)}, "agrees"),
        ({"published": math.inf, "measured": (math.inf, 3.0)}, "differs"),
        ({"published": 500.0, "measured": (100.0, math.inf), "infinite": "never", "better": "lower"}, "falls short"),
        ({"published": 500.0, "measured": (math.inf,), "infinite": "never"}, "differs"),
    ],
)
def test_the_verdict_follows_from_the_figures(facts, verdict):
    assert Measurement(what="x", **facts).verdict == verdict


def test_figures_as_they_are_written():
    figure = Measurement(what="x", published=1.17, measured=(1.12, 1.16, 1.13), tolerance=0.1, number_format=".2f")
    assert (page.format_published(figure), page.format_measured(figure)) == ("1.17 ± 0.1", "1.13 (1.12..1.16)")
    share = Measurement(what="x", published=0.807, measured=(0.836,), tolerance=0.05, number_format=".1%")
    assert (page.format_published(share), page.format_measured(share)) == ("80.7% ± 5%", "83.6%")
    claim = Measurement(what="x", published=1.0, measured=(0.8,), claim="at most", tolerance=0.1, number_format=".1f")
    assert (page.format_published(claim), page.format_measured(claim)) == ("at most 1.0", "0.8")
    never = Measurement(what="x", published=500, measured=(31, math.inf, 30), infinite="never", number_format=".0f")
    assert (page.format_published(never), page.format_measured(never)) == ("500", "31 (30..never)")
    assert page.format_published(Measurement(what="x", measured=(1.0,))) == ""


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


def test_another_source_or_version_is_another_trial(tmp_path, monkeypatch):
    names = {cache._file(square, {"x": 1})}
    monkeypatch.setattr(cache.inspect, "getsource", lambda _: "return x ** 2")
    names.add(cache._file(square, {"x": 1}))
    monkeypatch.setattr(cache.metadata, "version", lambda _: "9.9")
    names.add(cache._file(square, {"x": 1}))
    assert len(names) == 3
    assert all(name.startswith("test_reproduce.square-") for name in names)


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
        published = row["published"]
        figure = Measurement(
            what=row["what"],
            published=words.get(published, published),
            measured=tuple(words.get(m, m) for m in row["measured"]),
            **{name: row[name] for name in ("claim", "tolerance", "better", "infinite")},
        )
        assert figure.verdict == row["verdict"], row


@BOOK
def test_the_same_command_measures_nothing_again(quick, monkeypatch):
    monkeypatch.setattr(cache, "_measured", lambda _: pytest.fail("measured again"))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # pictures would take longest
    again = good("reproduce", "recipe", "lecture", "--quick", "--report", quick.folder, "--json", "-q")
    assert again.err == ""
    assert again.json["experiments"] == [e for e in quick.json["experiments"] if e["name"] in {"lecture", "recipe"}]
    assert again.json["command"].startswith("elman reproduce recipe lecture --quick --report ")
    assert again.json["environment"]["torch"] == torch.__version__


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
    found = report.Report(tmp_path, command="elman x", quick=False).add(fake(), fake().run(None), 90.0)
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
    assert "| a \\| b &lt;script>alert(1)&lt;/script> | 2.000 | 2.000 | agrees |" in markdown
    assert "![One &lt;title>](fake-one.png)" in markdown


@BOOK
def test_the_page_of_all_experiments_is_self_contained(quick):
    found = assert_self_contained(quick.html)
    assert page.QUICK in found.text
    assert [a["id"] for a in found.all("section")] == list(ORDER)
    assert len(found.all("img")) >= len(ORDER)
    tables = [attrs for attrs in found.all("div") if attrs.get("class") == "scroll"]
    assert len(found.all("table")) == len(tables) == len(ORDER) + 1


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
