"""What is said of texts with rare symbols, joiners, several files, one symbol, and mixed line ends."""

import json
from pathlib import Path

import pytest
from command import elman as elman_command
from command import good

import elman
from elman.data.corpus import read_corpus

TINY = ("--recipe", "elman", "--hidden", "8", "--batch", "4", "--steps", "10", "-q")


@pytest.fixture(scope="module")
def rare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a text with a sentence of words that stand there once."""
    folder = tmp_path_factory.mktemp("rare")
    (folder / "text.txt").write_text("A verdict fell once .\n" + "the quick brown fox jumps over the dog .\n" * 90)
    (folder / "other.txt").write_text("the quick verdict\u200d zeal zeal e\u0301 .\n")
    good("train", "text.txt", "--tokens", "word", "--run", "r", *TINY, folder=folder)
    return folder


def test_a_prompt_of_rare_words_is_refused_with_the_reason_and_kept_on_demand(rare: Path) -> None:
    refused = elman_command("generate", "r", "the verdict", folder=rare)
    assert refused.code == 3
    assert "'verdict': too rare in the training text (once)" in refused.err
    assert "--unknown keep" in refused.err
    assert "min_count = 1 in the configuration" in refused.err
    kept = good("generate", "r", "the verdict", "--unknown", "keep", "--length", 3, folder=rare)
    assert kept.out.startswith("the verdict ")
    assert "read as <unk>: 'verdict': too rare" in kept.err


def test_the_remedy_that_is_named_works(rare: Path, tmp_path: Path) -> None:
    (tmp_path / "all.toml").write_text("min_count = 1\n")
    good(
        "train",
        rare / "text.txt",
        "--tokens",
        "word",
        "--run",
        tmp_path / "r",
        "--config",
        tmp_path / "all.toml",
        *TINY,
    )
    assert good("generate", tmp_path / "r", "A verdict", "--length", 3).out.startswith("A verdict ")


def test_training_lists_what_was_too_rare(rare: Path) -> None:
    report = json.loads((rare / "r" / "report.json").read_text())
    summary = report["unknown_symbols"]["train"]
    assert summary["too_rare"] == summary["tokens"] == 4
    assert set(summary["most_frequent"]) == {"A", "verdict", "fell", "once"}


def test_scoring_lists_what_is_unknown_and_per_token_shows_it(rare: Path, tmp_path: Path) -> None:
    found = good("evaluate", "r", "other.txt", "--per-token", tmp_path / "t.tsv", folder=rare).out
    assert "4 scored tokens are not in the vocabulary, and scored as <unk>" in found
    assert "Unknown: 'zeal' 2," in found
    rows = [line.split("\t")[0] for line in (tmp_path / "t.tsv").read_text().splitlines()[1:]]
    assert [json.loads(row) for row in rows] == ["the", "quick", "verdict\u200d", "zeal", "zeal", "e\u0301", ".", "\n"]
    assert rows[2] == '"verdict\\u200d"'
    limited = good("evaluate", "r", "--per-token", tmp_path / "own.tsv", "--limit", 7, folder=rare)
    assert limited.code == 0
    assert len((tmp_path / "own.tsv").read_text().splitlines()) == 8


def test_data_shows_the_text_as_it_stands(rare: Path, tmp_path: Path) -> None:
    facts = good("data", "text.txt", "--tokens", "word", "--json", folder=rare).json
    assert facts["begins"].startswith("'A verdict fell once .\\nthe quick")
    assert facts["too_rare"] == 4
    assert facts["unknown_train_symbols"] == {"'A'": 1, "'fell'": 1, "'once'": 1, "'verdict'": 1}
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 20)
    assert good("data", tmp_path / "latin.txt", "--tokens", "byte", "--json").json["begins"].startswith("'caf\\\\xe9 ")
    (tmp_path / "marks.txt").write_text("\u0301\u093f\x1b" * 20)
    shown = good("data", tmp_path / "marks.txt", "--tokens", "char", "--json").json["most_frequent"]
    assert list(shown) == ["'\\x1b'", "'\\u0301'", "'\\u093f'"]


@pytest.mark.parametrize(("first", "words"), [("cat log", 2), ("cat log\n", 2), ("cat log\r\n", 2), ("cat log\r", 1)])
def test_the_end_of_a_file_ends_a_line(tmp_path: Path, first: str, words: int) -> None:
    (tmp_path / "a.txt").write_text(first, newline="")
    (tmp_path / "b.txt").write_text("once upon\n")
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    found = good("stats", *paths, "--order", 1, "--json").json["ngrams"][0]
    counts = {entry["tokens"][0]: entry["times"] for entry in found["top"]}
    assert counts == {"cat": 1, "log": 1, "once": 1, "upon": 1, "\n": words}
    whole = first + ("" if first[-1:] in "\r\n" else "\n") + "once upon\n"
    for source in ([str(path) for path in paths], [str(tmp_path)], [str(tmp_path / "*.txt")]):
        for tokens in ("char", "byte"):
            corpus = read_corpus(source, tokens=tokens, held_out=0, min_count=1)
            assert corpus.vocab.decode(corpus.train.ids) == whole


def test_sources_end_lines_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    text = elman.read_corpus(["human-numbers", str(tmp_path / "a.txt")], tokens="char", held_out=0, min_count=1)
    assert text.vocab.decode(text.train.ids[-10:]).endswith("nine\na")


def test_files_of_version_0_1_are_read_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("log")
    (tmp_path / "b.txt").write_text("once ’n’ a\u200cb")
    corpus = read_corpus([str(tmp_path)], tokens="word", held_out=0, min_count=1, segmentation="0.1")
    assert corpus.vocab.to_tokens(corpus.train.ids) == ["logonce", "’", "n", "’", "a", "\u200c", "b"]


def test_what_is_read_twice_is_said(tmp_path: Path) -> None:
    for name, text in {"a.txt": "one two\n", "b.txt": "three\n", "copy.txt": "one two\n"}.items():
        (tmp_path / name).write_text(text * 9)
    (tmp_path / "link.txt").symlink_to("b.txt")

    def notes(*names: str) -> str:
        return " ".join(
            read_corpus([str(tmp_path / name) if "." in name or not name else name for name in names]).notes
        )

    assert notes("a.txt", "b.txt") == ""
    assert "is read twice: name it once" in notes("a.txt", "a.txt")
    assert "copy.txt' have the same contents, which are read twice" in notes("a.txt", "copy.txt")
    assert "link.txt' have the same contents" in notes("b.txt", "link.txt")
    assert notes("").count("same contents") == 2
    assert "human-numbers is read twice" in notes("human-numbers", "human-numbers")
    assert "same contents" in good("stats", tmp_path / "a.txt", tmp_path / "copy.txt").err
    assert good("data", tmp_path / "a.txt", tmp_path / "a.txt", "--json").json["notes"]


def test_line_ends_that_differ_are_named(tmp_path: Path) -> None:
    for name, end in {"lf": "\n", "crlf": "\r\n"}.items():
        (tmp_path / f"{name}.txt").write_text(f"the old clock{end}" * 60, newline="")
    same = good("train", tmp_path / "lf.txt", "--tokens", "char", "--run", tmp_path / "r", *TINY)
    assert "Lines end" not in same.err
    told = good("evaluate", tmp_path / "r", tmp_path / "crlf.txt").err
    assert "Lines end with LF in the training text and with CR LF in" in told
    assert "Lines end" not in good("evaluate", tmp_path / "r", tmp_path / "lf.txt").err
    mixed = read_corpus([str(tmp_path / "lf.txt"), str(tmp_path / "crlf.txt")], tokens="char", held_out=20)
    assert "with CR LF or LF in the training text and with CR LF in the held-out text" in mixed.notes[0]


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_lines_that_end_with_carriage_returns_alone_are_named(tmp_path: Path, level: str) -> None:
    for name, end in {"lf": "\n", "cr": "\r", "none": " "}.items():
        (tmp_path / f"{name}.txt").write_text(f"the old clock{end}" * 60, newline="")
    alone = "Lines end with CR alone, which is not read as the end of a line: convert them to LF (mac2unix)."

    def notes(*names: str, **how: float) -> tuple[str, ...]:
        return read_corpus([str(tmp_path / name) for name in names], tokens=level, **how).notes

    assert notes("cr.txt") == (alone,)
    assert notes("lf.txt") == notes("none.txt") == ()
    learnt, scored = "Lines end with LF in the training text", "and with CR in the held-out text"
    differ = alone if level == "word" else f"{learnt} {scored}: convert them to one (dos2unix, mac2unix)."
    assert notes("lf.txt", "cr.txt", held_out=3 * 60 if level == "word" else 14 * 60) == (differ,)
    assert alone in good("stats", tmp_path / "cr.txt", "--tokens", level).err.replace("\n", " ")
    good("train", tmp_path / "lf.txt", "--tokens", level, "--run", tmp_path / "r", *TINY)
    told = good("evaluate", tmp_path / "r", tmp_path / "cr.txt").err
    assert (alone if level == "word" else "Lines end with LF in the training text and with CR in") in told
    assert "Lines end" not in good("evaluate", tmp_path / "r").err


@pytest.mark.parametrize(
    ("text", "told"), [("時間旅行者正在講述", True), ("ภาษาไทย", True), ("भाषा है ", False), ("한국어 말 ", False)]
)
def test_words_of_a_script_without_spaces_are_warned_of(tmp_path: Path, text: str, told: bool) -> None:
    (tmp_path / "text.txt").write_text(text * 30)
    notes = read_corpus([str(tmp_path / "text.txt")], tokens="word").notes
    assert ["--tokens char suits it better" in note for note in notes] == [True] * told
    assert read_corpus([str(tmp_path / "text.txt")], tokens="char").notes == ()


def test_one_symbol_repeated_has_no_verdict_of_who_wins(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a" * 15_000)
    shown = good("train", tmp_path / "a.txt", "--run", tmp_path / "r", *TINY).out
    scored = good("evaluate", tmp_path / "r").out
    compared = good("compare", tmp_path / "a.txt", "--models", "2-gram,3-gram").out
    for found in (shown, scored, compared):
        assert "one symbol repeated" in found
        assert not any(word in found for word in ("wins", "Better", "Worse", "do not use", "Long passages"))


def test_without_unk_nothing_is_said_to_be_read_as_it(tmp_path: Path) -> None:
    vocab = elman.Vocab.chars("abracadabra", unknown=False)
    elman.save(elman.NGram.fit(elman.TextTask(vocab), vocab.encode("abracadabra"), order=2), tmp_path / "m")
    refused = elman_command("generate", "m", "ax", "--unknown", "keep", folder=tmp_path)
    assert refused.code == 3
    assert "'x': not in the training text" in refused.err
    assert "<unk>" not in refused.err
