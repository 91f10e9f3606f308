"""Frequencies of n-grams: a Counter over slices, exact power laws, and published figures of The Time Machine."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from command import elman, good, one_line
from hypothesis import given
from hypothesis import strategies as st

from elman import Vocab, ngram_frequencies, read_corpus
from elman.data.sources.time_machine import FILE, data_home
from elman.errors import ConfigError, DataError
from elman.models.ngram.frequencies import fit_power_law

LETTERS = "abcdefg"
TEXTS = st.text(LETTERS, min_size=4, max_size=80)


def counted(text, order=3, top=10):
    vocab = Vocab.chars(text, unknown=False)
    return ngram_frequencies(vocab.encode(text), vocab, order=order, top=top)


def slices(text, n):
    return Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))


@given(TEXTS)
def test_counts_are_those_of_a_counter_over_slices(text):
    for f in counted(text, order=4, top=1000):
        expected = slices(text, f.n)
        assert dict(f.top) == expected
        assert f.times.tolist() == sorted(expected.values(), reverse=True) == [times for _, times in f.top]
        assert (f.total, f.types) == (len(text) - f.n + 1, len(expected))
        assert f.singletons == sum(times == 1 for times in expected.values())
        assert f.possible == len(set(text)) ** f.n
        assert len(counted(text, order=4, top=2)[f.n - 1].top) == min(2, f.types)


def singletons_by_hand(text, n):
    """The definition in exact arithmetic, an n-gram at a time."""
    first, second = text[: len(text) // 2], text[len(text) // 2 :]
    symbols, seen, met = len(set(text)), slices(first, n), slices(second, n)
    before, after = (Counter() for _ in range(2))
    for contexts, grams in ((before, seen), (after, met)):
        for gram, times in grams.items():
            contexts[gram[:-1]] += times
    words, observed, laplace = slices(first, 1), [], []
    once = [gram for gram, times in seen.items() if times == 1]
    for gram in once:
        shorter = (
            Fraction(words[gram[-1:]] * symbols + 1, symbols * (len(first) + 1)) if n > 1 else Fraction(1, symbols)
        )
        observed.append(met[gram])
        laplace.append(after[gram[:-1]] * (1 + shorter) / (before[gram[:-1]] + 1))
    return (len(once), sum(observed) / len(once), float(sum(laplace) / len(once))) if once else None


@given(TEXTS)
def test_singletons_are_those_of_the_two_halves(text):
    for f in counted(text, order=3):
        expected = singletons_by_hand(text, f.n) if len(text) // 2 >= f.n else None
        found = f.singleton_stats and (f.singleton_stats.number, f.singleton_stats.observed, f.singleton_stats.laplace)
        assert found == (expected and pytest.approx(expected))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.5])
def test_an_exact_power_law_gives_its_exponent(alpha):
    exact = 1e9 / np.arange(1, 3001) ** alpha
    exact[:9], exact[1000:] = 3e9, 1.0  # outside of the ranks that are fitted
    law = fit_power_law(exact)
    assert (law.alpha, law.scale) == pytest.approx((alpha, 1e9))
    assert (law.first, law.last) == (10, 1000)


@given(st.lists(st.integers(1, 10**6), min_size=19, max_size=60))
def test_the_fit_is_the_least_squares_line(times):
    times = np.sort(np.array(times))[::-1]
    law, ranks = fit_power_law(times), np.arange(10, len(times) + 1)
    slope, intercept = np.polyfit(np.log(ranks), np.log(times[9:]), 1)
    assert (law.alpha, math.log(law.scale), law.last) == pytest.approx((-slope, intercept, len(times)), abs=1e-8)


def test_too_few_types_have_no_exponent():
    assert fit_power_law(np.arange(18, 0, -1)) is None
    assert fit_power_law(np.arange(19, 0, -1)) is not None
    assert [f.power_law for f in counted("abab", order=2)] == [None, None]


def test_symbols_that_do_not_occur_are_no_types():
    vocab = Vocab.bytes()
    letters, pairs = ngram_frequencies(vocab.encode("abcab"), vocab, order=2)
    assert (letters.types, letters.possible, pairs.types, pairs.possible) == (3, 3, 3, 9)
    assert [tokens for tokens, _ in letters.top] == [("a",), ("b",), ("c",)]


def test_short_texts():
    (only,) = counted("a", order=1)
    assert (only.total, only.types, only.top) == (1, 1, ((("a",), 1),))
    assert (only.singleton_stats, only.power_law) == (None, None)
    whole = counted("abc", order=3)[-1]
    assert (whole.top, whole.singleton_stats) == (((("a", "b", "c"), 1),), None)
    with pytest.raises(DataError, match="a text of 3 tokens has no n-gram of 4"):
        counted("abc", order=4)
    with pytest.raises(ConfigError, match="order is 0"):
        counted("abc", order=0)


# --- The Time Machine

BOOK = pytest.mark.skipif(
    not (data_home() / FILE).exists(),
    reason="needs The Time Machine: run `elman data time-machine` once, or set ELMAN_DATA_HOME",
)
TOP = {
    1: "the 2261, i 1267, and 1245, of 1155, a 816, to 695, was 552, in 541, that 443, my 440",
    2: "of the 309, in the 169, i had 130",
    3: "the time traveller 59, the time machine 30, the medical man 24",
}
FIGURES = {1: (4579, 1.04, 52), 2: (20234, 0.69, 82), 3: (29882, 0.47, 95)}


@pytest.fixture(scope="module")
def book():
    corpus = read_corpus(["time-machine"], tokens="word", normalize="letters", held_out=0, min_count=1, unknown=False)
    assert len(corpus.train.ids) == 32_775
    return ngram_frequencies(corpus.train.ids, corpus.vocab)


@BOOK
@pytest.mark.parametrize("n", TOP)
def test_the_published_counts_and_exponents_of_the_book(book, n):
    f = book[n - 1]
    shown = ", ".join(f"{' '.join(tokens)} {times}" for tokens, times in f.top)
    assert f.n == n
    assert shown.startswith(TOP[n])
    assert (f.types, round(f.power_law.alpha, 2), round(100 * f.singletons / f.types)) == FIGURES[n]
    assert (f.power_law.first, f.power_law.last) == (10, 1000)


@BOOK
def test_in_the_book_few_n_grams_occur_and_laplace_overestimates_the_rare(book):
    assert book[1].types / book[1].possible < 0.001
    assert book[2].types / book[2].possible < 1e-6
    for f in book:
        assert f.singleton_stats.laplace > 1.7 * f.singleton_stats.observed


# --- by the command line


def test_stats_prints_a_row_a_length(tmp_path):
    (tmp_path / "t.txt").write_text("The cat saw the dog; the dog saw the cat. " * 3)
    call = ["stats", "t.txt", "--clean", "letters", "--order", "2", "--top", "3"]
    found = good(*call, "--json", folder=tmp_path).json
    assert (found["schema_version"], found["source"], found["level"]) == (1, "t.txt", "word")
    assert (found["tokens"], found["types"]) == (30, 4)
    assert [f["n"] for f in found["ngrams"]] == [1, 2]
    assert found["ngrams"][1]["top"][0] == {"tokens": ["the", "cat"], "times": 6}
    assert [f["share_of_possible"] for f in found["ngrams"]] == [1, found["ngrams"][1]["types"] / 16]
    assert found["ngrams"][0]["zipf"] is None
    shown = good(*call, folder=tmp_path).out
    assert all(words in shown for words in ("30 tokens", "'the' 12", "'the cat' 6", "too few"))


def test_stats_of_n_grams_of_which_there_could_be_more_than_a_float_holds(tmp_path):
    (tmp_path / "t.txt").write_text("one two three four five " * 300)
    found = good("stats", "t.txt", "--order", "400", "--level", "char", "--json", folder=tmp_path).json
    assert found["ngrams"][-1]["share_of_possible"] == 0.0
    assert found["ngrams"][-1]["types"] == 24


def test_stats_counts_every_token_of_a_source_that_has_a_split(tmp_path):
    found = good("stats", "human-numbers", "--order", "1", "--json").json
    assert found["tokens"] == 63_095
    assert found["ngrams"][0]["total"] == found["tokens"]
    assert "<unk>" not in [token for each in found["ngrams"][0]["top"] for token in each["tokens"]]


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_stats_of_any_script_from_standard_input(level):
    text = "時間 旅行者, naïve 🎉\n[bold] [/] " * 3
    done = good("stats", "-", "--level", level, "--order", "2", stdin=text.encode())
    assert "% of possible" in done.out
    if level == "word":
        assert "'旅 行' 3" in done.out
        assert "'[ bold'" in done.out


def test_stats_draws_a_picture_of_its_own(tmp_path):
    pytest.importorskip("matplotlib", reason='needs the "plot" extra')
    (tmp_path / "t.txt").write_text("one two three " * 20)
    good("stats", "t.txt", "--picture", "z.png", folder=tmp_path)
    assert (tmp_path / "z.png").read_bytes().startswith(b"\x89PNG")
    again = elman("stats", "t.txt", "--picture", "z.png", folder=tmp_path)
    assert (again.code, again.out) == (2, "")
    assert "exists already" in one_line(again)
    assert elman("stats", "t.txt", "--picture", "no/z.png", folder=tmp_path).code == 74
    assert ".png, .svg, .pdf" in one_line(elman("stats", "t.txt", "--picture", "z.txt", folder=tmp_path))
    good("stats", "-", "--order", "1", "--picture", "one.png", folder=tmp_path, stdin=b"word")


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("", 2, ("name a text",)),
        ("t.txt --order 0", 2, ("--order", ">= 1")),
        ("t.txt --order 9", 3, ("4 tokens", "n-gram of 9", "lower order")),
        ("t.txt --limit 1", 3, ("1 tokens", "n-gram of 3")),
        ("t.txt --top 0", 2, ("--top", ">= 1")),
        ("t.txt --clean leters", 2, ("'leters'", "letters")),
    ],
)
def test_statistics_that_cannot_be(call, code, words, tmp_path):
    (tmp_path / "t.txt").write_text("one two three four")
    done = elman("stats", *call.split(), folder=tmp_path)
    assert (done.code, done.out) == (code, "")
    message = one_line(done)
    assert all(word in message for word in words), message
