"""What follows training: within its budget, in stages with their shares, and ended by a signal without any loss."""

import json
import lzma
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command import ENGLISH, TINY, elman

from elman.cli.signals import Stop, Stopped
from elman.comparison.trained import compare_steps
from elman.data.corpus import read_corpus
from elman.forecasting import study
from elman.inference import compressors
from elman.training import report as reports
from elman.training.budget import measuring_seconds, training_settings
from elman.training.config import Config
from elman.training.report import Measuring, conclude
from elman.training.run import Job, begin, execute, resume

LATER = (
    "import os, signal, sys\n"
    "from elman.training import report\n"
    "from elman.cli import main\n"
    "scored = report.evaluate\n"
    "def evaluate(*args, **more):\n"
    "    if more.get('protocol') == 'reset':\n"  # the held-out part has its first figure by then
    "        print('RESET', file=sys.stderr, flush=True)\n"
    "        while True:\n"
    "            signal.sigtimedwait([], 0.05)\n"
    "    return scored(*args, **more)\n"
    "report.evaluate = evaluate\n"
    "main()\n"
)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "text.txt").write_text(ENGLISH)
    settings = {"sources": [str(tmp_path / "text.txt")], "hidden": 8, "batch": 4, "window": 16, "steps": 3}
    made = begin(tmp_path / "run", Config.resolve(("test", settings)))
    for _ in execute(made):
        pass
    return made


def test_a_real_signal_while_it_scores_keeps_the_model_and_what_was_scored(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(ENGLISH)
    (tmp_path / "later.py").write_text(LATER)
    run = tmp_path / "r"
    call = (tmp_path / "later.py", "train", tmp_path / "text.txt", *TINY, "--steps", "3", "--run", run)
    process = subprocess.Popen(
        [sys.executable, *map(str, call)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    for line in process.stderr:
        if "RESET" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "what was measured until now is kept" in err
    assert f"elman evaluate {run}" in out
    report = json.loads((run / "report.json").read_text())
    assert report["interrupted"]
    assert [score["protocol"] for score in report["figures"]["held-out"]] == ["carried"]
    assert report["not_measured"][0] == "scoring the held-out part, state reset"
    assert elman("evaluate", run, "--json").json["nats"] == pytest.approx(report["figures"]["held-out"][0]["nats"])
    assert elman("train", "--resume", run, "-q").code == 0
    whole = json.loads((run / "report.json").read_text())
    assert (whole["interrupted"], whole["not_measured"]) == (False, [])
    assert whole["figures"]["held-out"][0] == report["figures"]["held-out"][0]


@pytest.mark.parametrize("after", [0, 2, 4, 6, 9, 14, 60])
def test_an_interrupt_at_any_stage_leaves_a_whole_report(job: Job, after: int) -> None:
    seen: list[Measuring] = []

    def tell(event: Measuring) -> None:
        seen.append(event)
        if len(seen) > after:
            raise KeyboardInterrupt

    whole = conclude(job)
    report = conclude(job, tell)
    assert json.loads((job.path / "report.json").read_text())["interrupted"] == report["interrupted"]
    assert report["interrupted"] == (len(seen) > after)
    assert bool(report["not_measured"]) == report["interrupted"]
    for name, scores in report["figures"].items():
        assert [s["nats"] for s in scores] == [s["nats"] for s in whole["figures"][name][: len(scores)]]


def test_stages_go_from_none_to_all_and_name_each(job: Job) -> None:
    seen: list[Measuring] = []
    conclude(job, seen.append)
    stages = list(dict.fromkeys(event.stage for event in seen))
    assert stages[:2] == ["timing the model", "scoring the held-out part, state carried"]
    assert stages[-1] == "the lowest possible training perplexity"
    assert {"counting n-grams", "xz of the held-out part", "scoring the training text, state reset"} <= {*stages}
    shares = [event.overall for event in seen]
    assert shares == sorted(shares)
    assert all(0 <= event.fraction <= 1 for event in seen)


def test_what_a_budget_of_minutes_has_no_room_for_is_left_out_and_said(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = reports.evaluate

    def evaluate(model: Any, part: Any, **more: Any) -> Any:
        time.sleep(len(part.ids) * 2e-4)
        return slow(model, part, **more)

    monkeypatch.setattr(reports, "evaluate", evaluate)
    monkeypatch.setattr(reports, "PROBE", 20)
    object.__setattr__(job.config, "minutes", 0.001)  # 15 ms to measure: 75 tokens
    job.training.seconds = 60.0
    report = conclude(job)
    assert report["figures"]["held-out"][0]["tokens"] < len(job.corpus.held_out.ids) // 2  # type: ignore[union-attr]
    assert "scoring the training text, state carried" in report["not_measured"]
    assert not report["interrupted"]
    assert not report["scored_whole"]["held-out"]


@pytest.mark.parametrize(("minutes", "kept"), [(0.2, 3.0), (1, 15.0), (5, 30.0), (60, 360.0)])
def test_a_budget_of_minutes_is_for_training_and_measuring_together(minutes: float, kept: float) -> None:
    assert measuring_seconds(minutes) == pytest.approx(kept)
    settings = training_settings(Config(minutes=minutes))
    assert settings.minutes == pytest.approx(minutes - kept / 60)
    assert training_settings(Config(steps=5)).minutes is None


def test_a_resumed_run_has_the_budget_that_it_began_with(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(ENGLISH)
    settings = {"sources": [str(tmp_path / "text.txt")], "hidden": 8, "batch": 4, "window": 16, "minutes": 0.002}
    made = begin(tmp_path / "run", Config.resolve(("test", settings)))
    for _ in execute(made):
        pass
    again = resume(tmp_path / "run", {})
    assert again.training.settings == made.training.settings
    assert "complete" in again.notes[-1]


def test_counting_before_the_first_step_ends_at_once(job: Job, tmp_path: Path) -> None:
    fresh = begin(tmp_path / "other", job.config)
    with Stop() as stop:
        stop.signal = signal.SIGTERM
        with pytest.raises(Stopped):
            list(execute(fresh, stop.requested, stop.at_once()))
    assert fresh.checkpoints.latest() is not None
    assert fresh.training.step == 0


def test_a_signal_within_what_ends_at_once_raises_and_outside_only_asks() -> None:
    with Stop() as stop:
        with pytest.raises(Stopped), stop.at_once():
            signal.raise_signal(signal.SIGINT)
        assert stop.signal == signal.SIGINT


def test_pieces_are_compressed_as_the_whole_is() -> None:
    data = (ENGLISH * 40).encode()
    assert compressors.COMPRESSORS["xz"](data) == lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_panel_keeps_the_series_that_were_forecast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    rows = "".join(f"{i % 5},{i % 3},{i % 4}\n" for i in range(60))
    (tmp_path / "t.csv").write_text(f"a,b,c\n{rows}")
    forecast, seen = study.forecast, iter(range(9))

    def interrupted(*series: Any, **more: Any) -> Any:
        if next(seen) == 1:
            os.kill(os.getpid(), number)
        return forecast(*series, **more)

    monkeypatch.setattr(study, "forecast", interrupted)
    done = elman("forecast", "t.csv", "--model", "last", "--horizon", 2, "--json", "--run", "out", folder=tmp_path)
    assert done.code == code
    assert [each["series"] for each in done.json["series"]] == ["a"]
    assert done.json["notes"][-1] == "interrupted: 2 of 3 series were not forecast"
    assert "b (2 of 3): 60 values" in done.err
    assert (tmp_path / "out" / "forecast.csv").read_text().count("\na,") == 2
    monkeypatch.setattr(study, "forecast", lambda *_, **__: os.kill(os.getpid(), number))
    done = elman("forecast", "t.csv", "--model", "last", "--run", "other", folder=tmp_path)
    assert (done.code, done.out) == (code, "")
    assert not (tmp_path / "other").exists()


def test_a_comparison_tells_what_it_measures(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(ENGLISH)
    told: list[tuple[str, float | None]] = []
    config = Config(hidden=8, batch=4, window=16, steps=2)
    corpus = read_corpus([str(tmp_path / "text.txt")])
    for _ in compare_steps(
        corpus, ["2-gram", "gru"], seeds=1, config=config, tell=lambda what, share: told.append((what, share))
    ):
        pass
    whats = list(dict.fromkeys(what for what, _ in told))
    assert whats[:2] == ["xz and bz2", "2-gram: counting"]
    for name in ("2-gram", "gru"):
        for text in ("held-out", "training"):
            shares = [share for what, share in told if what.startswith(f"{name}: ") and f" {text} tokens" in what]
            assert shares == sorted(shares)  # type: ignore[type-var]
            assert shares[-1] == 1
