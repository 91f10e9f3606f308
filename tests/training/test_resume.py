"""A run that is stopped and resumed ends as the run that was not: weights, optimizer, records, samples, all bits."""

import itertools
import json
import os
import random
from pathlib import Path

import pytest
import torch

import elman.reproduce
from elman.errors import ConfigError, DataError, DivergedError, ModelError
from elman.models.saving import open_saved
from elman.storage.atomic import RunLock
from elman.storage.checkpoints import Checkpoints
from elman.training import run
from elman.training.checkpoint import read_facts
from elman.training.config import Config
from elman.training.loop import Progress
from elman.training.report import conclude

LETTERS = "abcd ef"


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk is another file's promise (`test_store_crash.py`), and most of the time here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(random.Random(0).choices(LETTERS, k=400)), encoding="utf-8")
    return path


def config(source: Path, **settings: object) -> Config:
    defaults = {
        "sources": (str(source),),
        "clean": "none",
        "min_count": 1,
        "held_out": 60,
        "hidden": 6,
        "batch": 4,
        "window": 10,
        "steps": 23,
        "num_reports": 4,
        "dropout": 0.3,
        "sample_length": 12,
        "lr": 0.003,
        "seed": 3,
    }
    return Config.resolve(("test", defaults | settings))


def go(job: run.Job, until: int | None = None) -> list[Progress]:
    """Train to the end, or stop after step `until`."""
    steps = run.execute(job, lambda: until is not None and job.training.step >= until)
    return [p for p in steps if isinstance(p, Progress)]


def outcome(job: run.Job) -> dict[str, object]:
    """All that must be equal; tensors as bytes, so that -0.0 and 0.0 differ too."""
    t = job.training
    metrics = [m | {"seconds": None} for m in run.records(job.path / "metrics.jsonl")]
    moments = {
        f"{i}.{k}": v.cpu().numpy().tobytes()
        for i, p in enumerate(p for g in t.optimizer.param_groups for p in g["params"])
        for k, v in t.optimizer.state[p].items()
        if v is not None
    }
    return {
        "weights": {n: p.detach().cpu().numpy().tobytes() for n, p in job.model.named_parameters()},
        "optimizer": moments,
        "carried": [s.cpu().numpy().tobytes() for s in t.carried],
        "counters": [t.step, t.epoch, t.batch, t.epoch_tokens, t.reports, t.best_perplexity, t.reports_since_best],
        "last": t.last_epoch_perplexity,
        "running loss": (t.running_loss.nats, t.running_loss.tokens),
        "metrics": metrics,
        "samples": (job.path / "samples.jsonl").read_text(encoding="utf-8"),
        "best": best(job),
    }


def best(job: run.Job) -> object:
    found = job.checkpoints.best()
    return found and (found.path.name, found.files["model.safetensors"])


def assert_same(found: dict[str, object], expected: dict[str, object]) -> None:
    for name, value in expected.items():
        assert found[name] == value, f"{name} differs"


EPOCH = 10  # steps of an epoch of 340 tokens in 4 rows x 10; checked below
RUNS = [
    ("elman", "sequential", "sgd", 7),
    ("elman", "random", "adamw", EPOCH),
    ("gru", "sequential", "adamw", 1),
    ("gru", "sequential", "adamw", EPOCH + 4),
    ("gru", "random", "sgd", 13),
    ("lstm", "sequential", "sgd", EPOCH),
    ("lstm", "random", "adamw", 22),
    ("lstm", "sequential", "adamw", 5),
    ("elman-relu", "reference-sequential", "adamw", 6),
    ("gru", "reference-random", "sgd", 9),
]


@pytest.mark.parametrize(("cell", "batching", "optimizer", "stop"), RUNS)
def test_stop_and_resume_changes_no_bit(tmp_path, source, cell, batching, optimizer, stop):
    settings = {"cell": cell, "layers": 2, "batching": batching, "optimizer": optimizer}
    if optimizer == "sgd":
        settings |= {"lr": 0.5}
    straight = run.begin(tmp_path / "straight", config(source, **settings))
    go(straight)
    broken = run.begin(tmp_path / "broken", config(source, **settings))
    assert len(go(broken, stop)) == stop
    resumed = run.resume(tmp_path / "broken", {})
    assert resumed.training.step == stop
    assert resumed.notes == []
    go(resumed)
    assert straight.training.step == 23
    assert_same(outcome(resumed), outcome(straight))


@pytest.mark.parametrize(
    "settings",
    [
        {"learn_initial_state": True},
        {"embedding": 6, "tied": True},
        {"dropout": 0},
        {"ngram_experts": 3},
        {"ngram_experts": 3, "batching": "random", "cell": "lstm"},
        {"distill_weight": 0.5},
        {"ngram_experts": 2, "distill_weight": 0.5},
        {"copy_window": 5},
        {"copy_window": 40, "batching": "random", "cell": "lstm"},
        {"ngram_experts": 3, "copy_window": 5},
        {"layer_norm": True, "residual": True, "mogrifier": 3, "layers": 2, "embedding": 6},
        {"optimizer": "sgd", "final_weights": "last", "learn_initial_state": True},
    ],
)
def test_every_kind_of_model_resumes(tmp_path, source, settings):
    straight = run.begin(tmp_path / "straight", config(source, **settings))
    go(straight)
    go(run.begin(tmp_path / "broken", config(source, **settings)), 8)
    resumed = run.resume(tmp_path / "broken", {})
    go(resumed)
    assert_same(outcome(resumed), outcome(straight))


@pytest.mark.parametrize("stop", [29, 44, 45, 50])
def test_windows_that_grow_go_on_growing(tmp_path, source, stop):
    """340 tokens in 4 rows: 29 steps of 3, about 15 of 6, 8 of 12, ...; cut at ends of epochs and within."""
    settings = {"initial_window": 3, "window": 40, "steps": None, "epochs": 5, "num_reports": 2}
    straight = run.begin(tmp_path / "straight", config(source, **settings))
    ends = [p.step for p in go(straight) if p.epoch_ended]
    assert 28 <= ends[0] <= 30
    assert 14 <= ends[1] - ends[0] <= 16
    assert 7 <= ends[2] - ends[1] <= 9
    go(run.begin(tmp_path / "broken", config(source, **settings)), stop)
    resumed = run.resume(tmp_path / "broken", {})
    go(resumed)
    assert_same(outcome(resumed), outcome(straight))


def test_windows_that_do_not_fit_are_refused_before_there_is_a_folder(tmp_path, source):
    with pytest.raises(DataError, match=r"340 tokens, fewer than the 400 of one batch of 4 rows x 100 steps"):
        run.begin(tmp_path / "run", config(source, initial_window=3, window=100))
    with pytest.raises(ConfigError, match="initial_window 20 is longer than window 10"):
        run.begin(tmp_path / "run", config(source, initial_window=20))
    assert not (tmp_path / "run").exists()


def test_stopping_at_the_end_of_an_epoch_with_a_budget_of_epochs(tmp_path, source):
    settings = {"steps": None, "epochs": 3, "num_reports": 3}
    straight = run.begin(tmp_path / "straight", config(source, **settings))
    steps = go(straight)
    end = next(p.step for p in steps if p.epoch_ended)
    go(run.begin(tmp_path / "broken", config(source, **settings)), end)
    resumed = run.resume(tmp_path / "broken", {})
    assert (resumed.training.epoch, resumed.training.batch) == (1, 0)
    go(resumed)
    assert_same(outcome(resumed), outcome(straight))


def test_stopping_after_every_few_steps(tmp_path, source):
    straight = run.begin(tmp_path / "straight", config(source))
    go(straight)
    job = run.begin(tmp_path / "broken", config(source))
    for until in itertools.count(4, 4):
        go(job, until)
        if job.training.step == 23:
            break
        job = run.resume(tmp_path / "broken", {})
    assert_same(outcome(job), outcome(straight))


def test_patience_goes_on_from_where_it_was(tmp_path, source):
    """Random letters cannot be learnt, so the held-out figure rises and patience ends the run."""
    settings = {"steps": 400, "num_reports": 40, "patience": 5, "dropout": 0, "hidden": 24, "lr": 0.02}
    straight = run.begin(tmp_path / "straight", config(source, **settings))
    assert go(straight)[-1].stopped_early
    assert straight.training.step < 400
    go(run.begin(tmp_path / "broken", config(source, **settings)), straight.training.step - 15)
    resumed = run.resume(tmp_path / "broken", {})
    assert resumed.training.reports_since_best > 0
    go(resumed)
    assert_same(outcome(resumed), outcome(straight))


def test_steps_after_the_last_checkpoint_are_done_again_and_recorded_once(tmp_path, source):
    """As after a crash: the records know more than the checkpoint."""
    straight = run.begin(tmp_path / "straight", config(source, final_weights="last"))
    go(straight)
    job = run.begin(tmp_path / "broken", config(source, final_weights="last"))
    steps = run.execute(job)
    for p in steps:
        if isinstance(p, Progress) and p.step == 15:
            break
    steps.close()
    assert len(run.records(job.path / "metrics.jsonl")) > 1
    resumed = run.resume(tmp_path / "broken", {})
    assert resumed.training.step < 15
    go(resumed)
    assert_same(outcome(resumed), outcome(straight))


def test_a_finished_run_does_nothing_more(tmp_path, source):
    job = run.begin(tmp_path / "run", config(source))
    go(job)
    before = outcome(job)
    again = run.resume(tmp_path / "run", {})
    assert go(again) == []
    assert_same(outcome(again), before)


def test_a_larger_budget_goes_on(tmp_path, source):
    go(run.begin(tmp_path / "run", config(source)))
    job = run.resume(tmp_path / "run", {"steps": 40})
    steps = go(job)
    assert [p.step for p in steps] == list(range(24, 41))
    go(run.resume(tmp_path / "run", {"epochs": 6}))
    assert run.resume(tmp_path / "run", {}).training.epoch == 6


def test_another_folder_resumes_what_was_moved_there(tmp_path, source):
    straight = run.begin(tmp_path / "straight", config(source))
    go(straight)
    go(run.begin(tmp_path / "broken", config(source)), 9)
    (tmp_path / "broken").rename(tmp_path / "moved")
    resumed = run.resume(tmp_path / "moved", {})
    go(resumed)
    assert_same(outcome(resumed), outcome(straight))


def test_a_run_whose_default_was_written_as_a_share_goes_on_with_the_split_of_its_source(tmp_path, monkeypatch):
    """Until 0.1 its records say 0.1 where nothing was given; the digest of the text tells which is meant."""
    settings = {"sources": ["human-numbers"], "limit": 900, "hidden": 4, "batch": 4, "window": 10, "steps": 4}
    job = run.begin(tmp_path / "run", Config.resolve(("test", settings)))
    monkeypatch.setattr(Config, "values", lambda self, old=Config.values: {"held_out": 0.1} | old(self))
    go(job, 2)
    monkeypatch.undo()
    assert read_facts(job.checkpoints.latest()).config.held_out == 0.1
    resumed = run.resume(tmp_path / "run", {})
    assert (resumed.config.held_out, resumed.corpus.digest) == (None, job.corpus.digest)
    facts = run.checkpoint_metadata(tmp_path / "run", open_saved(tmp_path / "run"))
    assert run.corpus_of(tmp_path / "run", facts).digest == job.corpus.digest
    go(resumed)
    explicit = run.begin(tmp_path / "tenth", Config.resolve(("test", settings | {"held_out": 0.1})))
    assert len(explicit.corpus.held_out.ids) == 90
    go(explicit, 2)
    assert run.resume(tmp_path / "tenth", {}).config.held_out == 0.1


def test_a_job_whose_run_went_on_elsewhere_is_refused(tmp_path, source):
    go(run.begin(tmp_path / "run", config(source)), 6)
    late = run.resume(tmp_path / "run", {})
    go(run.resume(tmp_path / "run", {}))
    before = {path: path.read_bytes() for path in sorted((tmp_path / "run").rglob("*")) if path.is_file()}
    for act in (lambda: list(run.execute(late)), lambda: conclude(late)):
        with pytest.raises(ConfigError, match="has gone on in another process: resume it again"):
            act()
    assert {path: path.read_bytes() for path in sorted((tmp_path / "run").rglob("*")) if path.is_file()} == before


def test_the_checkpoint_is_read_under_the_lock(tmp_path, source, monkeypatch):
    go(run.begin(tmp_path / "run", config(source)), 6)
    held = []

    def read(settings: Config, *rules: str, read=run.read_data) -> object:
        with pytest.raises(ConfigError, match="is in use by process"), RunLock(tmp_path / "run"):
            pass
        held.append(True)
        return read(settings, *rules)

    monkeypatch.setattr(run, "read_data", read)
    with run.resume(tmp_path / "run", {}).lock:
        assert held == [True]
    with RunLock(tmp_path / "run"), pytest.raises(ConfigError, match="is in use by process"):
        run.resume(tmp_path / "run", {})
    assert held == [True]


# --- refusals


@pytest.fixture
def stopped(tmp_path: Path, source: Path) -> Path:
    go(run.begin(tmp_path / "run", config(source)), 6)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hidden": 7}, ["hidden is 6 in the run and 7 here"]),
        (
            {"lr": 0.1, "cell": "lstm"},
            ["cell is 'gru' in the run and 'lstm' here", "lr is 0.003 in the run and 0.1 here"],
        ),
        ({"seed": 4, "steps": 99}, ["seed is 3 in the run and 4 here"]),
        ({"batching": "random"}, ["batching is 'sequential' in the run and 'random' here"]),
    ],
)
def test_other_settings_are_refused_with_the_difference(stopped, changes, told):
    with pytest.raises(ConfigError, match="cannot be resumed with other settings") as caught:
        run.resume(stopped, changes)
    assert all(each in str(caught.value) for each in told)
    assert "steps" not in str(caught.value)


def test_the_settings_that_it_has_are_no_difference(stopped, source):
    assert run.resume(stopped, {"hidden": 6, "sources": (str(source),)}).training.step == 6


def test_changes_under_their_names_of_0_1_are_read(stopped, source):
    assert run.resume(stopped, {"reports": config(source).num_reports}).training.step == 6
    with pytest.raises(ConfigError, match="tokens is"):
        run.resume(stopped, {"level": "byte"})


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "a",
        lambda text: text.replace("a", "b", 1),
        lambda text: text.replace("f", "g"),  # the same ids of another vocabulary
    ],
)
def test_another_text_or_vocabulary_is_refused(stopped, source, change):
    source.write_text(change(source.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=r"is not the training text of") as caught:
        run.resume(stopped, {})
    assert str(source) in str(caught.value)


def test_no_run_and_no_checkpoint_are_refused(tmp_path, source):
    with pytest.raises(ModelError, match="there is no run"):
        run.resume(tmp_path / "nothing", {})
    run.begin(tmp_path / "empty", config(source))
    with pytest.raises(ModelError, match="no checkpoint to resume from"):
        run.resume(tmp_path / "empty", {})


def test_beginning_in_a_folder_that_exists_is_refused(stopped, source):
    with pytest.raises(ConfigError, match="exists already"):
        run.begin(stopped, config(source))


def test_too_little_memory_for_what_a_run_counts_at_its_end_is_refused_at_its_beginning(tmp_path, source, monkeypatch):
    monkeypatch.setattr("elman.models.ngram.counts.memory", lambda: 1000)
    with pytest.raises(ConfigError, match=r"n-grams of up to 8 of 340 tokens may take .*, or set ngram to false"):
        run.begin(tmp_path / "run", config(source))
    assert not (tmp_path / "run").exists()
    run.begin(tmp_path / "run", config(source, ngram=False))


def test_weights_do_not_depend_on_the_memory(tmp_path, source, monkeypatch):
    """Folds and orders are those of the text: with any memory that suffices all bits are the same."""
    settings = {"ngram_experts": 3, "distill_weight": 0.5, "steps": 5}
    found = []
    for there in (2**62, 2**26):
        for module in ("models.hybrid", "models.ngram.counts", "training.distillation"):
            monkeypatch.setattr(f"elman.{module}.memory", lambda there=there: there)
        job = run.begin(tmp_path / str(there), config(source, **settings))
        go(job)
        found.append(outcome(job))
    assert_same(found[1], found[0])


@pytest.mark.parametrize("where", ["weights", "optimizer", "carried"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_in_a_checkpoint_are_refused(stopped, where, bad):
    job = run.resume(stopped, {})
    job.training.step += 1
    with torch.no_grad():
        if where == "weights":
            job.model.b_q[2] = bad
        elif where == "optimizer":
            job.training.optimizer.state[job.model.b_q]["exp_avg"][2] = bad
        else:
            job.training.carried[0][0, 0] = bad
    run.save(job)
    with pytest.raises(ModelError, match="holds NaN or infinity"):
        run.resume(stopped, {})


def test_divergence_names_the_step_and_a_checkpoint_that_is_good(tmp_path, source):
    job = run.begin(tmp_path / "run", config(source))

    def poisoned() -> bool:
        if job.training.step == 8:
            job.model.b_q.data[0] = float("nan")
        return False

    with pytest.raises(DivergedError, match=r"step 9\b.*last good checkpoint is .*step-0000"):
        list(run.execute(job, poisoned))
    resumed = run.resume(tmp_path / "run", {})
    assert resumed.training.step <= 8
    assert all(p.isfinite().all() for p in resumed.model.parameters())


def test_a_run_describes_itself(stopped, source):
    files = {p.name for p in stopped.iterdir()}
    assert files >= {"config.toml", "env.json", "metrics.jsonl", "samples.jsonl", "checkpoints"}
    latest = Checkpoints(stopped / "checkpoints").latest()
    facts = json.loads(latest.files["training.json"])
    assert facts["counters"]["step"] == 6
    assert facts["config"]["sources"] == [str(source)]


def test_an_epoch_has_the_steps_that_the_stops_above_assume(tmp_path, source):
    ends = [p.step for p in go(run.begin(tmp_path / "run", config(source))) if p.epoch_ended]
    assert abs(ends[0] - EPOCH) <= 2


def test_reports_that_wait_for_the_end_of_an_epoch_survive_an_interruption(tmp_path, monkeypatch):
    """15 epochs, 10 reports: one is due in the middle of the second epoch and comes at its end, resumed or not."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("the time traveller smiled. " * 40, encoding="utf-8")
    settings = {"sources": ["book.txt"], "hidden": 4, "batch": 4, "window": 48, "epochs": 15, "num_reports": 10}
    whole = run.begin(tmp_path / "whole", Config.resolve(("test", settings)))
    expected = [p.step for p in run.execute(whole) if getattr(p, "report", False)]
    per_epoch = whole.training.step // 15
    assert per_epoch > 3
    for stop in range(1, 2 * per_epoch):
        job = run.begin(tmp_path / f"cut{stop}", Config.resolve(("test", settings)))
        seen = [
            p.step
            for p in run.execute(job, lambda job=job, stop=stop: job.training.step >= stop)
            if getattr(p, "report", False)
        ]
        seen += [p.step for p in run.execute(run.resume(job.path, {})) if getattr(p, "report", False)]
        assert seen == expected, stop


@pytest.mark.parametrize("tokens", ["char", "word"])
def test_a_run_of_version_0_1_goes_on_with_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens: str
) -> None:
    """Its words, normalization and glued files, though a new run would have others."""
    for name, end in {"a.txt": "", "b.txt": "\n"}.items():
        (tmp_path / name).write_text(" ".join(["don’t pay 3.50 for a\u200cb"] * 40) + end, encoding="utf-8")
    sources = (str(tmp_path / "a.txt"), str(tmp_path / "b.txt"))
    settings = config(
        tmp_path, sources=sources, tokens=tokens, clean="letters", ngram_experts=2, num_reports=2, steps=8
    )
    now = run.read_data
    with monkeypatch.context() as patch:
        patch.setattr(run, "read_data", lambda config: now(config, "0.1"))
        go(run.begin(tmp_path / "run", settings), until=4)
    job = run.resume(tmp_path / "run", {})
    assert job.model.task.vocab.segmentation == job.corpus.vocab.segmentation == "0.1"
    assert job.corpus.digest != now(settings).digest
    go(job)
    saved = Checkpoints(tmp_path / "run" / "checkpoints").latest()
    assert saved is not None
    again = run.corpus_of(tmp_path / "run", run.checkpoint_metadata(tmp_path / "run", saved))
    assert again.digest == job.corpus.digest
    if tokens == "word":
        assert job.model.task.vocab.encode("don t a b").all()
        assert elman.evaluate(job.model, "don’t a\u200cb").tokens == 4
