"""The main job by the command line: train, look at the run, measure it, continue it, and what data there is."""

import json
import math
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command import ENGLISH, SCRIPTS, TINY, elman, good, one_line, tree, weights

from elman.data.sources import SOURCES

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a run of 30 steps on it, which no test changes."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "text.txt").write_text(ENGLISH)
    (folder / "other.txt").write_text("Nobody lost the garden ¿mañana? " * 9, encoding="utf-8")
    good("train", "text.txt", *TINY, "--steps", "30", "--lr", "0.03", "--run", "r", "-q", folder=folder)
    return folder


# --- the run folder


def test_a_run_folder_explains_itself(home: Path) -> None:
    run = home / "r"
    files = {
        "config.toml",
        "env.json",
        "metrics.jsonl",
        "samples.jsonl",
        "report.json",
        "perplexity.png",
        "gradient.png",
    }
    assert files | {"checkpoints"} <= {path.name for path in run.iterdir()}
    settings = tomllib.loads((run / "config.toml").read_text())
    assert (settings["hidden"], settings["steps"], settings["sources"]) == (8, 30, [str(home / "text.txt")])
    assert {"torch", "python", "threads", "device", "engine"} <= json.loads((run / "env.json").read_text()).keys()
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    reports = [m for m in metrics if m["report"]]
    assert (len(reports), reports[-1]["step"]) == (10, 30)
    assert reports[-1]["held_out"] < reports[0]["held_out"]
    samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    assert {s["prompt"] for s in samples} == {ENGLISH[:20]}
    assert {len(s["text"]) for s in samples} == {50}
    assert all((run / name).read_bytes().startswith(PNG) for name in ("perplexity.png", "gradient.png"))
    for checkpoint in (run / "checkpoints").glob("step-*"):
        assert {p.suffix for p in checkpoint.iterdir()} == {".json", ".safetensors"}


def test_the_configuration_of_a_run_makes_the_same_run(home: Path, tmp_path: Path) -> None:
    good("train", "--config", home / "r" / "config.toml", "--run", "again", "-q", folder=tmp_path)
    assert weights(tmp_path / "again") == weights(home / "r")


def test_another_seed_makes_another_run(home: Path, tmp_path: Path) -> None:
    good("train", "--config", home / "r" / "config.toml", "--seed", "1", "--run", "x", "-q", folder=tmp_path)
    assert weights(tmp_path / "x") != weights(home / "r")


def test_a_run_that_nobody_named_gets_a_free_name(home: Path, tmp_path: Path) -> None:
    for _ in range(2):
        good("train", home / "text.txt", *TINY, "--steps", "1", "-q", folder=tmp_path)
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["text-gru-1", "text-gru-2"]


def test_a_windowed_network_is_trained_resumed_scored_and_continued(home: Path, tmp_path: Path) -> None:
    for run, steps in (("whole", ["6"]), ("cut", ["3", "6"])):
        good(
            "train", home / "text.txt", *TINY, "--cell", "mlp", "--steps", steps[0], "--run", run, "-q", folder=tmp_path
        )
        for more in steps[1:]:
            good("train", "--resume", run, "--steps", more, "-q", folder=tmp_path)
    found = good("evaluate", "whole", "--json", folder=tmp_path).json
    assert math.isfinite(found["perplexity"])
    assert len(good("generate", "cut", "She", "--length", "20", folder=tmp_path).out) == 24
    refused = elman("train", home / "text.txt", *TINY, "--cell", "mlp", "--layers", "2", folder=tmp_path)
    assert refused.code == 2
    assert "'mlp' has no setting 'layers'" in refused.err


# --- evaluate


def test_evaluate_scores_the_held_out_text_of_the_run(home: Path) -> None:
    found = good("evaluate", "r", "--json", folder=home).json
    report = json.loads((home / "r" / "report.json").read_text())["figures"]["held-out"][0]
    assert {k: found[k] for k in report} == report
    assert found["perplexity"] == pytest.approx(math.exp(found["nats"] / found["tokens"]))
    assert found["bits_per_character"] == pytest.approx(found["nats"] / math.log(2) / found["characters"])
    assert f"{found['perplexity']:.3f}" in good("evaluate", "r", folder=home).out


def test_the_baselines_are_those_of_the_training_text(home: Path) -> None:
    found = good("evaluate", "r", "--json", folder=home).json
    held_out = ENGLISH[-found["tokens"] :]
    train = ENGLISH[: -found["tokens"]]
    symbols = len(set(train)) + 1
    nats = -sum(math.log((train.count(c) + 1) / (len(train) + symbols)) for c in held_out)
    assert found["baselines"]["uniform"] == pytest.approx(symbols)
    assert found["baselines"]["unigram"] == pytest.approx(math.exp(nats / len(held_out)))


def test_evaluate_another_text_counts_what_is_unknown(home: Path) -> None:
    found = good("evaluate", "r", "other.txt", "--json", folder=home).json
    text = (home / "other.txt").read_text(encoding="utf-8")
    strange = sum(c not in ENGLISH for c in text)
    assert strange == 3 * 9
    assert (found["tokens"], found["unknown"], found["text"]) == (len(text), strange, "other.txt")
    assert found["bytes"] == len(text.encode())
    share = f"{strange} unknown, {strange / len(text):.2%}"
    assert f"({share}: bits pay for their spelling" in good("evaluate", "r", "other.txt", folder=home).out


def test_evaluate_reads_standard_input(home: Path) -> None:
    text = (home / "other.txt").read_bytes()
    piped = good("evaluate", "r", "-", "--json", folder=home, stdin=text).json
    assert piped["nats"] == good("evaluate", "r", "other.txt", "--json", folder=home).json["nats"]


@pytest.mark.parametrize("how", [[], ["--protocol", "reset", "--window", "7"], ["--limit", "50"]])
def test_the_tokens_add_up_to_the_total(how: list[str], home: Path, tmp_path: Path) -> None:
    table = tmp_path / "tokens.tsv"
    found = good("evaluate", "r", "other.txt", *how, "--per-token", table, "--json", folder=home).json
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    assert header == "token\tnats"
    tokens, nats = zip(*(row.split("\t") for row in rows), strict=True)
    assert len(rows) == found["tokens"]
    assert math.fsum(map(float, nats)) == pytest.approx(found["nats"], abs=1e-6 * len(rows))
    text = (home / "other.txt").read_text(encoding="utf-8")
    assert [json.loads(t) for t in tokens] == list(text[: len(rows)])  # what is unknown, too


def test_the_tokens_of_a_long_text_add_up_as_well(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elman.inference.evaluation.WARM", 0)  # so that it shows where a stream begins
    (tmp_path / "long.txt").write_text(ENGLISH * 8)
    run, table = home / "r", tmp_path / "tokens.tsv"
    found = good("evaluate", run, "long.txt", "--per-token", table, "--json", folder=tmp_path).json
    assert found["streams"] > 1, "long enough to be scored in streams"
    nats = [float(row.split("\t")[1]) for row in table.read_text().splitlines()[1:]]
    assert math.fsum(nats) == pytest.approx(found["nats"], abs=1e-3)


def test_the_protocols_differ_and_are_named(home: Path) -> None:
    carried = good("evaluate", "r", "--json", folder=home).json
    reset = good("evaluate", "r", "--protocol", "reset", "--window", "5", "--json", folder=home).json
    assert (carried["protocol"], reset["protocol"], reset["window"]) == ("carried", "reset", 5)
    assert reset["nats"] != carried["nats"]
    assert reset["baselines"] == carried["baselines"]


def test_learning_from_what_was_scored_is_a_protocol_of_its_own(home: Path, tmp_path: Path) -> None:
    learning = good("evaluate", "r", "--protocol", "dynamic", "--json", folder=home).json
    carried = good("evaluate", "r", "--json", folder=home).json
    assert (learning["protocol"], learning["tokens"]) == ("dynamic", carried["tokens"])
    assert 0 < abs(learning["nats"] - carried["nats"]) < 0.2 * carried["nats"]
    assert "still learning from what was scored" in good("evaluate", "r", "--protocol", "dynamic", folder=home).out
    table = tmp_path / "each.tsv"
    other = ("evaluate", "r", "other.txt", "--protocol", "dynamic", "--json", "--per-token", table)
    found = good(*other, folder=home).json
    nats = [float(row.split("\t")[1]) for row in table.read_text().splitlines()[1:]]
    assert math.fsum(nats) == pytest.approx(found["nats"], abs=1e-3)


def test_a_limit_that_is_missed_is_exit_code_6_after_the_figures(home: Path) -> None:
    figure = good("evaluate", "r", "--json", folder=home).json["perplexity"]
    failed = elman("evaluate", "r", "--max-ppl", figure - 0.01, "--json", folder=home)
    assert failed.code == 6
    assert failed.json["perplexity"] == figure
    assert f"{figure:.3f}" in one_line(failed)
    assert elman("evaluate", "r", "--max-ppl", "nan", folder=home).code == 6
    good("evaluate", "r", "--max-ppl", figure + 0.01, folder=home)


def test_a_checkpoint_is_evaluated_like_its_run(home: Path) -> None:
    checkpoint = sorted((home / "r" / "checkpoints").glob("step-*"))[-1]
    good("evaluate", checkpoint, "other.txt", folder=home)
    assert good("evaluate", checkpoint, "--json", folder=home).json["tokens"] == round(len(ENGLISH) / 10)


# --- generate


def test_generate_echoes_the_prompt_and_goes_on(home: Path) -> None:
    out = good("generate", "r", "The river", "--length", "40", folder=home).out
    assert out.startswith("The river")
    assert len(out) == len("The river") + 40 + 1


def test_a_seed_gives_the_same_text_and_another_another(home: Path) -> None:
    def text(*more: str) -> str:
        return good("generate", "r", "He ", "--length", "60", "--temperature", "1", *more, folder=home).out

    assert text() == text("--seed", "0") != text("--seed", "1")
    assert good("generate", "r", "He ", "--temperature", "0", "--seed", "1", folder=home) == good(
        "generate", "r", "He ", "--top-k", "1", "--seed", "2", folder=home
    )


def test_several_samples(home: Path) -> None:
    done = good("generate", "r", "He ", "--samples", "3", "--length", "20", "--json", folder=home).json
    assert (done["prompt"], len(done["samples"]), set(map(len, done["samples"]))) == ("He ", 3, {20})
    assert len(set(done["samples"])) > 1
    shown = good("generate", "r", "He ", "--samples", "3", "--length", "20", folder=home).out
    assert shown == "".join(f"--- {i}\nHe {text}\n" for i, text in enumerate(done["samples"], 1))


def test_a_stop_text_ends_it(home: Path) -> None:
    free = good("generate", "r", "He ", "--length", "80", folder=home).out[3:-1]
    stop = free[30:33]
    assert good("generate", "r", "He ", "--stop", stop, folder=home).out == f"He {free[: free.index(stop)]}\n"


def test_a_prompt_from_standard_input(home: Path) -> None:
    piped = good("generate", "r", "-", "--length", "9", folder=home, stdin=b"My friend")
    assert piped.out == good("generate", "r", "My friend", "--length", "9", folder=home).out


@pytest.mark.parametrize("prompt", ["", " ", "\n", "the " * 2000], ids=["none", "space", "line", "long"])
def test_any_prompt_of_known_symbols_is_continued(prompt: str, home: Path) -> None:
    for more in ("0", "1e-9", "1e9"):
        out = good("generate", "r", prompt, "--length", "5", "--temperature", more, folder=home).out
        assert (out[: len(prompt)], len(out)) == (prompt, len(prompt) + 6)


def test_no_length_is_only_the_prompt(home: Path) -> None:
    assert good("generate", "r", "He", "--length", "0", "--top-k", "10000", folder=home).out == "He\n"


def test_unseen_symbols_are_listed(home: Path) -> None:
    failed = elman("generate", "r", "Здоровый ß", folder=home)
    assert (failed.code, failed.out) == (3, "")
    message = one_line(failed)
    assert all(repr(c) in message for c in "Здорвыйß")
    assert "leave them out" in message


# --- every script, every level


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_any_script_end_to_end(script: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elman.cli.display.draw_pictures", lambda _: [])  # a second each, the same every time
    text = SCRIPTS[script]
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    size = ("--hidden", "8", "--batch", "2", "--window", "4", "--steps", "2")
    done = good("train", "text.txt", "--level", level, *size, "--run", "r", "-q", folder=tmp_path)
    assert "unigram" in done.out
    found = good("evaluate", "r", "--json", folder=tmp_path).json
    count = {"char": len(text), "byte": len(text.encode())}.get(level, found["tokens"] * 10)
    assert abs(found["tokens"] - count / 10) <= 10
    assert found["bytes"] >= found["characters"] > 0
    prompt = text[: text.index("\n") if level == "word" else 4]
    out = good("generate", "r", prompt, "--length", "12", folder=tmp_path).out
    assert out.startswith(prompt)
    assert len(out) > len(prompt) + 1


# --- data and env


def test_data_lists_what_there_is() -> None:
    found = good("data", "--json").json
    assert found["sources"].keys() == SOURCES.keys()
    assert {"none", "lower", "letters"} <= found["cleanings"].keys()
    listed = good("data").out
    assert all(name in listed for name in [*found["sources"], *found["cleanings"], "normalizations:"])


def test_data_shows_what_a_source_holds(home: Path) -> None:
    found = good("data", "text.txt", "--json", folder=home).json
    assert (found["tokens"], found["symbols"]) == (len(ENGLISH), len(set(ENGLISH)) + 1)
    top = max(set(ENGLISH), key=ENGLISH.count)
    assert next(iter(found["most_frequent"])) == repr(top)
    numbers = good("data", "human-numbers", "--json").json
    assert (numbers["train_tokens"], numbers["held_out_tokens"]) == (50_078, 13_016)
    assert good("data", "-", "--limit", "7", "--json", stdin=b"hello there").json["tokens"] == 7


def test_data_changes_nothing(home: Path) -> None:
    before = tree(home)
    good("data", "text.txt", "--level", "word", "--clean", "letters", folder=home)
    assert tree(home) == before


def test_env_names_what_a_report_of_a_fault_needs() -> None:
    found = good("env", "--json").json
    assert {"elman", "torch", "python", "platform", "threads", "devices", "data_home"} <= found.keys()
    assert found["devices"][0] == "cpu"
    assert found["torch"] in good("env").out


WAITING = """
import os, sys
from elman import cli
cli.run = lambda arguments: print(os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules) or 0
cli.main([])
"""


@pytest.mark.parametrize(
    ("given", "turns"),
    [({}, "1000"), ({"OMP_WAIT_POLICY": "active"}, "None"), ({"GOMP_SPINCOUNT": "9"}, "9")],
)
def test_threads_that_wait_sleep_unless_told_otherwise(given: dict[str, str], turns: str) -> None:
    free = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", WAITING], env=free | given, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [turns, "False"]  # before PyTorch, which reads it once
