"""A forged checkpoint is refused; going on touches nothing before the run is ours."""

import io
import json
import lzma
import math
from pathlib import Path

import pytest
import torch
from rich.console import Console

import elman
from elman.cli.display import print_report
from elman.errors import ConfigError, ModelError
from elman.models.ngram.model import NGram
from elman.storage.atomic import RunLock
from elman.storage.folder import read_folder, write_folder
from elman.training.config import Config
from elman.training.report import conclude
from elman.training.run import begin, execute, prompts, resume

TEXT = "the time traveller spoke of him, and his grey eyes shone. " * 30


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run of four steps; its newest checkpoint can be forged."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(TEXT, encoding="utf-8")
    settings = {"sources": ["book.txt"], "hidden": 4, "batch": 4, "window": 8, "steps": 4, "num_reports": 2}
    job = begin(tmp_path / "run", Config.resolve(("test", settings)))
    list(execute(job))
    return job


def forged(job, name, change):
    """Rewrite one file of the newest checkpoint, with a manifest that agrees."""
    saved = job.checkpoints.latest()
    files = dict(saved.files)
    if name.endswith(".json"):
        files[name] = json.dumps(change(saved.json(name))).encode()
    else:
        files[name] = change(saved.tensors(name, None))
    job.checkpoints.save(job.training.step, files)


def test_the_forger_of_these_tests_makes_checkpoints_that_load(run):
    forged(run, "training.json", lambda facts: facts)
    assert resume(run.path, {}).training.step == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda f: [],
        lambda f: {**f, "counters": {**f["counters"], "step": "4"}},
        lambda f: {**f, "counters": {**f["counters"], "step": -1}},
        lambda f: {**f, "counters": {**f["counters"], "step": True}},
        lambda f: {**f, "counters": {**f["counters"], "tally": [1.0]}},
        lambda f: {**f, "counters": {**f["counters"], "best": "low"}},
        lambda f: {**f, "counters": {}},
        lambda f: {**f, "records": {"metrics.jsonl": 0}},
        lambda f: {**f, "counters": {**f["counters"], "batch": 10**6}},
        lambda f: {**f, "config": {**f["config"], "hidden": -3}},
        lambda f: {**f, "config": {"no such": 1}},
        lambda f: {k: v for k, v in f.items() if k != "corpus"},
    ],
)
def test_forged_facts_are_refused(run, change):
    forged(run, "training.json", change)
    with pytest.raises(ModelError, match="cannot be resumed"):
        resume(run.path, {})


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {**t, "optimizer.99.exp_avg": torch.zeros(1)},
        lambda t: {**t, "optimizer.0.exp_avg": torch.zeros(1)},
        lambda t: {**t, "optimizer.0.__class__": torch.zeros(1)},
        lambda t: {**t, "model.weights": torch.zeros(1)},
        lambda t: {**t, "carried.0": torch.zeros(4, 5)},
        lambda t: {**t, "carried.1": torch.zeros(4, 4)},
        lambda t: {**t, "carried.0": torch.zeros(3, 4)},
        lambda t: {**t, "carried.0": torch.zeros(())},
        lambda t: {**t, "carried.0": torch.full((4, 4), torch.nan)},
        lambda t: {**t, "trained.0": torch.zeros(12, 4)},
    ],
)
def test_forged_tensors_are_refused(run, change):
    forged(run, "training.safetensors", change)
    with pytest.raises(ModelError):
        resume(run.path, {})


def test_only_the_runs_own_records_are_ever_cut(run, tmp_path):
    """A checkpoint that names another file to cut does not reach it."""
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    forged(run, "training.json", lambda f: {**f, "records": {**f["records"], "../victim.txt": 0}})
    list(execute(resume(run.path, {"steps": 6})))
    assert victim.read_text() == "precious"


def test_resuming_a_run_that_is_in_use_leaves_its_records_alone(run):
    metrics = run.path / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write('{"step": 5}\n')
    before = metrics.read_bytes()
    job = resume(run.path, {"steps": 6})
    with RunLock(run.path), pytest.raises(ConfigError, match="in use"):
        list(execute(job))
    assert metrics.read_bytes() == before


def test_a_training_text_that_begins_with_a_rare_symbol_has_a_prompt(tmp_path, monkeypatch):
    """Symbols that became <unk> are left out of the prompt that nobody gave."""
    monkeypatch.chdir(tmp_path)
    rare = "".join(chr(0x4E00 + i) for i in range(12))
    Path("book.txt").write_text(rare + TEXT, encoding="utf-8")
    settings = {"sources": ["book.txt"], "hidden": 4, "batch": 4, "window": 8, "steps": 2, "num_reports": 1}
    job = begin(tmp_path / "run", Config.resolve(("test", settings)))
    assert job.corpus.train.unknown == 12
    assert prompts(job) == ("the time",)
    assert len(list(execute(job))) == 3


def test_a_saved_folder_is_what_these_tests_forge(tmp_path):
    """The forger's tools refuse what they should: a manifest that does not agree."""
    write_folder(tmp_path / "x", {"a.json": b"{}"})
    (tmp_path / "x" / "a.json").write_bytes(b"[]")
    with pytest.raises(ModelError):
        read_folder(tmp_path / "x")


def test_a_larger_budget_is_reported_and_measured_to_its_end(run):
    """What was already reported of the old budget does not silence the new one, and config.toml follows."""
    job = resume(run.path, {"steps": 8})
    reports = [p for p in execute(job) if getattr(p, "report", False)]
    assert [p.step for p in reports] == [8]
    assert reports[0].held_out is not None
    assert "steps = 8" in (run.path / "config.toml").read_text(encoding="utf-8")


def test_a_long_held_out_part_is_scored_as_far_as_is_affordable_and_the_report_says_so(run, monkeypatch):
    whole = conclude(run)
    assert whole["scored_whole"] == {"train": True, "held-out": True}
    monkeypatch.setattr("elman.training.report.SCORED_TOKENS", 50)
    report = conclude(run)
    assert report["scored_whole"] == {"train": True, "held-out": False}
    assert [score["tokens"] for score in report["figures"]["held-out"]] == [50, 50]
    assert report["figures"]["held-out"][0]["nats"] < whole["figures"]["held-out"][0]["nats"]
    console = Console(file=io.StringIO(), width=200)
    print_report(console, report)
    assert "Scored: the first 50 held-out tokens; elman evaluate scores them all." in console.file.getvalue()


def test_the_n_gram_of_the_training_text_is_a_bound_and_a_model(run, monkeypatch):
    report, corpus = conclude(run), run.corpus
    expected = NGram.fit(run.model.task, corpus.train.ids)
    name = f"{expected.order}-gram"
    for part in (corpus.train, corpus.held_out):
        bound = report["figures"][part.name][0]["baselines"][name]
        assert bound == pytest.approx(math.exp(expected.surprisals(part.ids).mean()))
    text, vocab = corpus.train, corpus.vocab
    alone = len(lzma.compress(vocab.decode_bytes(text.ids), preset=9 | lzma.PRESET_EXTREME))
    assert report["xz"]["train"] == pytest.approx(2 ** (8 * alone / len(text.ids)))
    assert report["curve_bounds"] == report["figures"]["held-out"][0]["baselines"]
    monkeypatch.setattr("elman.training.report.HELD_OUT_TOKENS", 30)
    first = expected.surprisals(corpus.held_out.ids[:30])
    assert conclude(run)["curve_bounds"][name] == pytest.approx(math.exp(first.mean()))
    again = elman.load(run.path / "ngram")
    assert again.settings() == expected.settings()
    assert elman.evaluate(again, corpus.held_out).perplexity == pytest.approx(bound)
    assert f" and {name} on held-out text: perplexity" in report["verdict"][0]
    assert f" and {bound:.2f};" in report["verdict"][0]
    monkeypatch.setattr("elman.training.report.NGram.fit", None)  # counted once, then loaded
    assert conclude(run)["figures"] == report["figures"]


def test_a_setting_counts_no_n_gram(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(TEXT, encoding="utf-8")
    settings = {"sources": ["book.txt"], "hidden": 4, "batch": 4, "window": 8, "steps": 2, "ngram": False}
    job = begin(tmp_path / "run", Config.resolve(("test", settings)))
    list(execute(job))
    assert conclude(job)["figures"]["train"][0]["baselines"].keys() == {"uniform", "unigram"}
    assert not (tmp_path / "run" / "ngram").exists()


def test_a_run_that_is_complete_says_so(run):
    job = resume(run.path, {})
    assert "complete" in job.notes[-1]
    assert list(execute(job)) == []


def test_rate_counts_steps_alone(run):
    """Tokens a second are of the time in steps, which is never more than the time of the run."""
    t = run.training
    assert 0 < t.step_seconds <= t.seconds + 1e-3
    assert t.total_tokens == t.epoch_tokens > 0
