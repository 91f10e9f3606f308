"""A text ready for a model: split by position first, numbered by the vocabulary of its training part."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.cleaning import cleaning
from elman.data.corpus import read_corpus, read_part, split
from elman.data.sources import SOURCES
from elman.data.tokens import LEVELS, TokenSequence, join_words
from elman.data.vocab import Vocab
from elman.errors import ConfigError, DataError

TEXT = "The Time Traveller, 時間旅行者.\nnaïve 🙂 e\u0301!\n" * 40


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8", newline="")
    return str(path)


def test_the_last_tenth_is_held_out(path):
    corpus = read_corpus([path])
    cut = len(TEXT) - round(len(TEXT) / 10)
    assert corpus.vocab.decode(corpus.train.ids) == TEXT[:cut]
    assert corpus.vocab.decode(corpus.held_out.ids) == TEXT[cut:]
    assert corpus.test is None
    assert (corpus.train.name, corpus.held_out.name, corpus.normalize) == ("train", "held-out", "none")
    assert corpus.source == path


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("clean", ["none", "letters"])
def test_the_parts_are_the_text_and_their_sizes_are_exact(path, level, clean):
    corpus = read_corpus([path], tokens=level, normalize=clean, held_out=0.2, test=100)
    whole = np.concatenate([part.ids for part in corpus.parts])
    assert [part.name for part in corpus.parts] == ["train", "held-out", "test"]
    assert len(corpus.test.ids) == 100
    assert len(corpus.held_out.ids) == round(len(whole) * 0.2)
    text = cleaning(clean)(TEXT)
    tokens = TokenSequence.read([text], level).tokens()
    assert corpus.vocab.decode(whole) == (join_words(tokens) if level == "word" else text)
    assert b"".join(part.text_bytes(corpus.vocab) for part in corpus.parts) == text.encode()
    for part in corpus.parts:
        assert part.ids.dtype == corpus.vocab.dtype
        assert part.unknown == 0
    assert sum(part.characters for part in corpus.parts) == len(text)
    assert sum(part.bytes for part in corpus.parts) == len(text.encode())


def test_the_vocabulary_knows_the_training_part_only(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("ab" * 500 + "axyx")
    corpus = read_corpus([str(path)], held_out=4)
    assert corpus.vocab.idx_to_token == ("<unk>", "a", "b")
    assert corpus.held_out.ids.tolist() == [1, 0, 0, 0]
    assert (corpus.train.unknown, corpus.held_out.unknown) == (0, 3)
    assert corpus.held_out.characters == 4
    without = read_corpus([str(path)], held_out=4, unknown=False)
    assert without.vocab.decode(without.held_out.ids) == "a"
    assert (without.held_out.unknown, without.held_out.characters) == (3, 4)


def test_rare_symbols_are_unknown_in_training_too(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("ab" * 50 + "x" + "aabb")
    corpus = read_corpus([str(path)], held_out=4)
    assert corpus.train.unknown == 1
    assert corpus.train.ids[-1] == 0
    assert len(read_corpus([str(path)], held_out=4, min_count=1).vocab) == 4
    assert len(read_corpus([str(path)], held_out=4, unknown=False).vocab) == 3


def test_human_numbers_keep_their_own_split_unless_another_is_asked_for():
    corpus = read_corpus(["human-numbers"])
    assert (len(corpus.train.ids), len(corpus.held_out.ids)) == (50_078, 13_016)
    assert (len(corpus.vocab), corpus.vocab.level, corpus.held_out.unknown) == (31, "word", 0)
    train, held_out = ("".join(text()) for text in SOURCES["human-numbers"].split)
    assert corpus.vocab.decode(corpus.train.ids) == train
    assert (corpus.held_out.characters, corpus.held_out.bytes) == (len(held_out), len(held_out))
    limited = read_corpus(["human-numbers"], limit=1000)
    assert (len(limited.train.ids), len(limited.held_out.ids)) == (1000, 13_016)
    for other in ({"held_out": 0.5}, {"held_out": 0}, {"test": 5}):
        corpus = read_corpus(["human-numbers"], **other)
        assert sum(len(part.ids) for part in corpus.parts) == 50_078 + 1 + 13_016
    characters = read_corpus(["human-numbers"], tokens="char")
    assert characters.vocab.decode(characters.train.ids) == train


def test_a_limit_counts_tokens_after_cleaning(path):
    corpus = read_corpus([path], normalize="letters", limit=50, held_out=0, min_count=1)
    assert corpus.vocab.decode(corpus.train.ids) == cleaning("letters")(TEXT)[:50]
    assert corpus.held_out is None
    assert corpus.parts == (corpus.train,)
    assert len(read_corpus([path], limit=10**9, held_out=0).train.ids) == len(TEXT)


def test_bytes_need_no_text(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 4)
    corpus = read_corpus([str(path)], tokens="byte", held_out=256)
    assert corpus.held_out.ids.tolist() == list(range(256))
    assert (corpus.train.bytes, len(corpus.vocab)) == (768, 256)
    with pytest.raises(DataError, match="NUL"):
        read_corpus([str(path)])


@pytest.mark.parametrize(
    ("content", "settings", "word"),
    [
        ("a", {}, None),
        ("a", {"held_out": 1}, "1 tokens.*0 train, 1 held-out"),
        ("abc", {"held_out": 0.1}, "3 tokens.*3 train, 0 held-out"),
        ("abcdefghij", {"held_out": 0.5, "test": 5}, "0 train, 5 held-out, 5 test"),
        ("abcdefghij", {"held_out": 20}, "-10 train, 20 held-out"),
        ("1234", {"normalize": "letters-lines", "held_out": 0}, "no char is left"),
        ("   ", {"tokens": "word", "held_out": 0}, "no word is left"),
    ],
)
def test_a_part_without_tokens_is_refused_with_the_numbers(tmp_path, content, settings, word):
    path = tmp_path / "a.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=word or "0 held-out"):
        read_corpus([str(path)], **settings)


def test_texts_of_one_symbol_are_texts(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a" * 20)
    corpus = read_corpus([str(path)])
    assert (corpus.train.ids.tolist(), corpus.held_out.ids.tolist()) == ([1] * 18, [1] * 2)
    path.write_text("a")
    assert read_corpus([str(path)], held_out=0).train.ids.tolist() == [1]
    path.write_text(" " * 20)
    assert read_corpus([str(path)], held_out=0, unknown=False).train.ids.tolist() == [0] * 20


@pytest.mark.parametrize(
    "settings",
    [
        {"tokens": "bpe"},
        {"normalize": "wash"},
        {"limit": 0},
        {"held_out": -0.1},
        {"held_out": 1.5},
        {"test": float("nan")},
        {"test": float("inf")},
        {"min_count": 0},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(path, settings):
    with pytest.raises(ConfigError):
        read_corpus([path], **settings)


@given(st.integers(2, 50), st.data())
def test_a_split_is_two_views_that_make_the_whole(n, data):
    ids = np.arange(n, dtype=np.uint8)
    at = data.draw(st.integers(1, n - 1))
    first, second = split(ids, at)
    assert [*first, *second] == [*ids]
    assert len(first) == at
    assert np.shares_memory(second, ids)
    share = data.draw(st.floats(0.5 / n, 1 - 0.51 / n, exclude_min=True, exclude_max=True))
    assert abs(len(split(ids, share)[0]) - share * n) <= 0.5


@pytest.mark.parametrize(
    ("at", "error"),
    [(0, DataError), (10, DataError), (99, DataError), (0.01, DataError), (-1, ConfigError), (2.5, ConfigError)],
)
def test_a_split_with_an_empty_side_is_refused(at, error):
    with pytest.raises(error):
        split(np.arange(10, dtype=np.uint8), at)


def test_another_text_is_numbered_by_a_vocabulary_that_exists(path, tmp_path):
    vocab = Vocab.chars("abc ")
    other = tmp_path / "other.txt"
    other.write_text("ABxyx C")
    part = read_part([str(other)], vocab, normalize="lower")
    assert part.ids.tolist() == vocab.encode("ab\0\0\0 c").tolist()
    assert (part.unknown, part.characters, part.bytes) == (3, 7, 7)
    assert len(read_part([str(other)], vocab, limit=3).ids) == 3
    assert read_part([path, str(other)], vocab).characters == len(TEXT) + 7


def test_unknown_symbols_are_dropped_only_on_request(tmp_path):
    vocab = Vocab.chars("abc ", unknown=False)
    other = tmp_path / "other.txt"
    other.write_text("abéyé c")
    with pytest.raises(DataError, match="'é', 'y'"):
        read_part([str(other)], vocab)
    part = read_part([str(other)], vocab, drop_unknown=True)
    assert vocab.decode(part.ids) == "ab c"
    assert (part.unknown, part.characters, part.bytes) == (3, 7, 9)
    other.write_text("xyz")
    with pytest.raises(DataError, match="none of its 3 symbols"):
        read_part([str(other)], vocab, drop_unknown=True)
    other.write_text("abéyé c")
    with_unknown = read_part([str(other)], Vocab.chars("abc "), drop_unknown=True)
    assert (len(with_unknown.ids), with_unknown.unknown) == (7, 3)


def test_the_digest_tells_corpora_apart(path, tmp_path):
    base = read_corpus([path]).digest
    assert re.fullmatch("[0-9a-f]{64}", base)
    copy = tmp_path / "copy.txt"
    copy.write_text(TEXT, encoding="utf-8", newline="")
    assert read_corpus([str(copy)]).digest == base
    others = [
        {"tokens": "byte"},
        {"normalize": "letters"},
        {"limit": 100},
        {"held_out": 0.2},
        {"test": 5},
        {"unknown": False},
        {"normalize": "lower"},
    ]
    digests = {read_corpus([path], **other).digest for other in others}
    assert len(digests | {base}) == len(others) + 1
    moved = dataclasses.replace(read_corpus([path]), normalize="other")
    assert moved.digest != base


def test_the_digest_does_not_change_between_releases(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("abracadabra" * 3)
    assert read_corpus([str(path)]).digest == "90672f391ede425971e4f5499006eef897d5bc57d9111f8097853d3e0aa43ce6"


# The book itself, where the machine has it: the published counts.
BOOK = Path(os.environ.get("ELMAN_DATA_HOME", ""), "timemachine.txt")


@pytest.mark.skipif(not BOOK.is_file(), reason="set ELMAN_DATA_HOME to the folder that holds timemachine.txt")
@pytest.mark.parametrize(
    ("clean", "characters", "symbols"),
    [
        ("none", 178_979, 70),
        ("lower-spaces", 178_606, 44),
        ("letters", 173_428, 27),
        ("letters-lines", 173_427, 27),
        ("reference-letters", 170_580, 27),
    ],
)
def test_the_time_machine_has_the_published_sizes(clean, characters, symbols):
    corpus = read_corpus(["time-machine"], normalize=clean, held_out=0)
    assert len(corpus.train.ids) == corpus.train.characters == corpus.train.bytes == characters
    assert len(corpus.vocab) == symbols + 1


@pytest.mark.skipif(not BOOK.is_file(), reason="set ELMAN_DATA_HOME to the folder that holds timemachine.txt")
def test_the_lecture_has_43_symbols_in_its_first_10_000_characters():
    corpus = read_corpus(["time-machine"], normalize="lower-spaces", limit=10_000, held_out=0, unknown=False)
    assert (len(corpus.train.ids), len(corpus.vocab)) == (10_000, 43)


def test_reading_a_text_does_not_load_pytorch():
    code = "import sys, elman.data.corpus; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_of_before_still_work(tmp_path):
    (tmp_path / "a.txt").write_text("ab" * 50)
    corpus = read_corpus([str(tmp_path / "a.txt")])
    with pytest.warns(DeprecationWarning, match=r"Corpus\.reversed"):
        assert corpus.turned().digest == corpus.reversed().digest != corpus.digest
    with pytest.warns(DeprecationWarning, match=r"Vocab\.incremental_decoder"):
        assert corpus.vocab.stream().push(1) == "a"
    with pytest.warns(DeprecationWarning, match=r"Vocab\.from_tokens"):
        assert Vocab.of(TokenSequence.read(["abba"], "char")) == Vocab.chars("abba")
    with pytest.warns(DeprecationWarning, match=r"Vocab\.contains"):
        assert corpus.vocab.known(TokenSequence.read(["az"], "char")).tolist() == [True, False]
    with pytest.warns(DeprecationWarning, match=r"Corpus\.normalize"):
        assert corpus.clean == corpus.normalize == "none"


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_a_share_that_is_given_is_held_out_whatever_the_default(share):
    """1 to 9999 in words: the split of the source holds out 1999 of the numbers, a fifth."""
    found = read_corpus(["human-numbers"], held_out=share)
    total = sum(len(part.ids) for part in found.parts)
    assert len(found.held_out.ids) == round(share * total)
    own = read_corpus(["human-numbers"])
    assert len(own.held_out.ids) == pytest.approx(0.206 * total, rel=0.01)


def test_an_unknown_segmentation_is_refused_before_a_text_is_read():
    with pytest.raises(ConfigError, match="no segmentation 'icu'"):
        read_corpus(["no such file.txt"], segmentation="icu")
