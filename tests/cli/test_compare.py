"""`elman compare`: a table of models on a text, and of runs; the files it leaves; what it refuses; Ctrl-C."""

import json
import math
import re
import shutil
import signal
import statistics
from pathlib import Path

import pytest
from command import ENGLISH, TINY, elman, good, one_line, program, tree

from elman import NGram, TextTask, Vocab, save

PNG = b"\x89PNG\r\n\x1a\n"
QUICK = (*TINY, "--steps", "6", "--quiet")
FILES = {"comparison.json", "comparison.md", "comparison.png"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, runs on it (two seeds of a GRU, an LSTM, one of words, one of letters), which no test changes."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "text.txt").write_text(ENGLISH)
    (folder / "other.txt").write_text("My friend lost the old machine. " * 9)
    for run, *how in (
        ("g0", "--seed", "0"),
        ("g1", "--seed", "1"),
        ("l", "--cell", "lstm"),
        ("w", "--level", "word"),
        ("c", "--clean", "letters"),
    ):
        good("train", "text.txt", *TINY, "--steps", "10", *how, "--run", run, "-q", folder=folder)
    return folder


def named(document: dict, name: str) -> dict:
    return next(e for e in document["entries"] if e["name"] == name)


# --- models


def test_a_folder_holds_what_is_printed(home: Path, tmp_path: Path) -> None:
    call = ["compare", home / "text.txt", "--models", "3-gram,gru", "--models", "mlp", "--seeds", "2", *QUICK]
    done = good(*call, folder=tmp_path)
    folder = tmp_path / "runs" / "text-compare-1"
    assert {p.name for p in folder.iterdir()} == FILES
    document = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    assert {e["name"] for e in document["entries"] if e["kind"] in {"network", "counts"}} == {"3-gram", "gru", "mlp"}
    assert [s["seed"] for s in named(document, "gru")["seeds"]] == [0, 1]
    assert (document["complete"], document["settings"]["steps"], document["schema_version"]) == (True, 6, 1)
    for each in document["entries"]:
        assert re.search(
            rf"^{re.escape(each['name'])} .*\b{each['perplexity']['median']:.2f}\b", done.out, re.MULTILINE
        )
    for line in (*document["verdict"], *document["notes"]):
        assert line in done.out
        assert line in (folder / "comparison.md").read_text(encoding="utf-8")
    assert (folder / "comparison.png").read_bytes().startswith(PNG)
    assert not done.err
    assert "text-compare-1 (comparison.json, comparison.md, comparison.png)" in done.out
    again = good(*call, "--json", folder=tmp_path)
    figures = {e["name"]: e["perplexity"] for e in again.json["entries"]}
    assert figures == {e["name"]: e["perplexity"] for e in document["entries"]}
    assert again.json["folder"] == "runs/text-compare-2"


def test_settings_come_from_flags_the_environment_and_files(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.toml").write_text("embedding = 3\nseed = 5\n")
    monkeypatch.setenv("ELMAN_HIDDEN", "9")
    call = [
        "compare",
        home / "text.txt",
        "--models",
        "elman",
        "--steps",
        "2",
        "--held-out",
        "500",
        "--config",
        "c.toml",
    ]
    found = good(*call, "--json", "-q", folder=tmp_path).json
    assert {k: found["settings"][k] for k in ("embedding", "hidden", "seed")} == {
        "embedding": 3,
        "hidden": 9,
        "seed": 5,
    }
    assert found["parts"]["held-out"]["tokens"] == 500
    assert named(found, "elman")["seeds"][0]["seed"] == 5


def test_progress_is_on_standard_error(home: Path, tmp_path: Path) -> None:
    done = good("compare", home / "text.txt", "--models", "2-gram,elman", *TINY, "--steps", "2", folder=tmp_path)
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["2-gram", "elman"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("text.txt --models grru", 2, ("there is no model 'grru' (did you mean gru?): choose one of ngram",)),
        ("text.txt --models gru,0-gram", 2, ("order is 0",)),
        ("text.txt --models 99999-gram", 3, ("99999",)),
        ("text.txt --seeds 0", 2, ("seeds",)),
        ("text.txt --seeds x", 2, ("seeds", "x")),
        ("text.txt --hidden 0", 2, ("--hidden 0",)),
        ("text.txt --held-out 0", 2, ("--held-out",)),
        ("text.txt --held-out 1.5", 2, ("1.5",)),
        ("text.txt --held-out 1e9", 3, ("held-out",)),
        ("text.txt --batch 100000", 3, ("--batch",)),
        ("text.txt --limit 20 --models gru", 3, ("18 tokens",)),
        ("text.txt --out g0", 2, ("'g0' exists already: choose another --out",)),
        ("text.txt --on other.txt", 2, ("--on", "give runs")),
        ("missing.txt", 3, ("missing.txt", "no such file")),
        ("g0 text.txt", 2, ("'g0' is a run and 'text.txt' is a text",)),
        ("g0 --models gru", 2, ("runs are compared without further training: leave out --models",)),
        ("g0 --held-out 0.2", 2, ("leave out --held-out",)),
        (
            "g0 w",
            2,
            (
                "'w' and 'g0' were trained on different texts (tokens: word and the source's default)",
                "both on one text with --on FILE",
            ),
        ),
        ("g0 c", 2, ("normalize: letters and none",)),
        ("g0 c --on other.txt", 2, ("'c' was trained with --normalize letters and 'g0' with --normalize none",)),
        ("g0/ngram", 2, ("'g0/ngram' is a saved model without a training run", "--on FILE")),
        ("g0 --on missing.txt", 3, ("missing.txt",)),
        ("g0 --device tpu", 2, ("tpu",)),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_leaves_nothing(
    arguments: str, code: int, words: tuple[str, ...], home: Path
) -> None:
    before = tree(home)
    done = elman("compare", *arguments.split(), folder=home)
    message = one_line(done)
    assert done.code == code, message
    assert all(word in message for word in words), message
    assert not done.out
    assert tree(home) == before


def test_control_c_keeps_what_was_measured(home: Path, tmp_path: Path) -> None:
    call = ["compare", home / "text.txt", "--models", "2-gram,gru", *TINY, "--minutes", "5", "--json"]
    process = program(*call, "--out", tmp_path / "c")
    assert process.stderr
    assert process.stderr.readline().startswith("2-gram")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    document = json.loads(out)
    assert not document["complete"]
    assert document["notes"][-1] == "Interrupted before all was measured of gru."
    assert named(document, "2-gram")["seeds"]
    assert {p.name for p in (tmp_path / "c").iterdir()} == FILES
    assert json.loads((tmp_path / "c" / "comparison.json").read_text()) == document


# --- runs


def test_runs_score_what_evaluate_scores_and_seeds_share_a_row(home: Path, tmp_path: Path) -> None:
    runs = [str(home / r) for r in ("g0", "l", "g1")]
    found = good("compare", *runs, "--json", "-q", folder=tmp_path).json
    by_run = {s["run"]: s for e in found["entries"] if e["kind"] == "network" for s in e["seeds"]}
    for run in runs:
        expected = good("evaluate", run, "--json").json
        for key in ("nats", "perplexity", "bits_per_character", "tokens", "characters"):
            assert by_run[run][key] == expected[key]
    networks = {e["name"]: e for e in found["entries"] if e["kind"] == "network"}
    assert set(networks) == {f"{home / 'g0'} and 1 more", str(home / "l")}
    both = networks[f"{home / 'g0'} and 1 more"]
    assert [s["seed"] for s in both["seeds"]] == [0, 1]
    assert both["perplexity"]["median"] == statistics.median(s["perplexity"] for s in both["seeds"])
    assert both["model"] == "gru 8"
    ngram = good("evaluate", runs[0], "--json").json["baselines"]
    row = named(found, "ngram")
    assert row["perplexity"]["median"] == pytest.approx(ngram[row["model"]])
    assert named(found, "unigram")["perplexity"]["median"] == pytest.approx(ngram["unigram"])
    assert named(found, "xz after training")
    assert {p.name for p in (tmp_path / "runs" / "g0-compare-1").iterdir()} == FILES


def test_runs_of_other_settings_are_rows_of_their_own(home: Path, tmp_path: Path) -> None:
    good("train", "text.txt", *TINY, "--steps", "10", "--seed", "1", "--lr", "0.001", "--run", tmp_path / "x", "-q",
         folder=home)  # fmt: skip
    found = good("compare", home / "g0", tmp_path / "x", "--json", "-q", folder=tmp_path).json
    assert sum(e["kind"] == "network" for e in found["entries"]) == 2


def test_runs_of_several_vocabularies_on_one_text(home: Path, tmp_path: Path) -> None:
    call = ["compare", "g0", "w", "g0/ngram", "--on", "other.txt", "--json", "-q", "--out", tmp_path / "c"]
    found = good(*call, folder=home).json
    assert (found["figure"], found["vocabulary"], found["level"]) == ("bits_per_character", None, None)
    for run in ("g0", "w", "g0/ngram"):
        expected = good("evaluate", run, "other.txt", "--json", folder=home).json
        assert named(found, run)["seeds"][0]["nats"] == pytest.approx(expected["nats"])
        assert named(found, run)["seeds"][0]["bits_per_character"] == pytest.approx(expected["bits_per_character"])
    assert named(found, "w/ngram")["kind"] == "counts"
    text = (home / "other.txt").read_text()
    assert found["parts"]["held-out"] == {"characters": len(text), "bytes": len(text)}
    bits = [e["bits_per_character"]["median"] for e in found["entries"]]
    assert bits == sorted(bits)


def test_a_note_on_unknown_words_names_the_model_that_does_not_know_them(tmp_path: Path) -> None:
    text = "the time traveller smiled at the time machine " * 4
    (tmp_path / "text.txt").write_text(text + "quietly")
    for name, least in {"all": 1, "same": 1, "few": 5}.items():
        vocab = Vocab.words(text + "quietly", min_count=least)
        ids = vocab.encode(text + "quietly")
        save(NGram.fit(TextTask(vocab), ids, order=2 if name == "all" else 1), tmp_path / name)

    def notes(*names: str) -> list[str]:
        found = good("compare", *names, "--on", "text.txt", "--json", "-q", folder=tmp_path).json
        assert ("accuracy" in found["notes"][1]) == (len({*names} & {"few", "all"}) == 2)
        return [note for note in found["notes"] if "not in the vocabulary" in note]

    # "the" and "time" are known: of four words there are four each, and one of "quietly".
    unknown = "17 word tokens are not in the vocabulary, and scored as <unk>: all are too rare in the training text"
    assert [note.partition(" (")[0] for note in notes("all", "few")] == [f"few: {unknown}"]
    assert notes("all", "same") == []


def test_runs_of_one_vocabulary_on_standard_input(home: Path, tmp_path: Path) -> None:
    text = (home / "other.txt").read_bytes()
    call = ["compare", "g0", "l", "--on", "-", "--json", "-q", "--out", tmp_path / "c"]
    found = good(*call, folder=home, stdin=text).json
    assert found["figure"] == "perplexity"
    assert named(found, "l")["seeds"][0]["perplexity"] == pytest.approx(
        good("evaluate", "l", "other.txt", "--json", folder=home).json["perplexity"]
    )


def test_runs_whose_text_has_changed_are_refused(home: Path, tmp_path: Path) -> None:
    shutil.copy(home / "text.txt", tmp_path / "text.txt")
    good("train", "text.txt", *TINY, "--steps", "2", "--run", "r", "-q", folder=tmp_path)
    with (tmp_path / "text.txt").open("a") as file:
        file.write("more")
    done = elman("compare", "r", folder=tmp_path)
    assert done.code == 3
    assert "has changed" in one_line(done)
    found = good("compare", "r", "--on", home / "other.txt", "--json", "-q", folder=tmp_path).json
    assert math.isfinite(named(found, "r")["perplexity"]["median"])
