"""Bits of a text: what giving the text itself back takes, the same for `evaluate` and for `compress`."""

import codecs
import math
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from command import SCRIPTS
from hypothesis import given, settings
from hypothesis import strategies as st

import elman
from elman.data.corpus import Split, read_corpus, read_part, reversed_split
from elman.data.originals import Originals
from elman.data.tokens import Level, TokenSequence
from elman.errors import DataError
from elman.inference.evaluation import part_of
from elman.inference.lossless import adaptive_bits, other_bits, other_bits_by_token

LEVELS: tuple[Level, ...] = ("char", "word", "byte")
ALPHABET = st.sampled_from(
    [*"ab c", "\n", "  ", "\t", "\r\n", "é", "時", "\u0301", "<unk>", ",", "-", "3", "🙂", "zebra "]
)
TEXTS = st.lists(ALPHABET, min_size=1, max_size=60).map("".join).filter(str.strip)


def vocab_of(text: str, level: Level, min_count: int = 1, *, unknown: bool = True) -> elman.Vocab:
    return elman.Vocab.from_tokens(TokenSequence.read([text], level), min_count=min_count, unknown=unknown)


def unigram(vocab: elman.Vocab, text: str, *, reverse: bool = False) -> elman.NGram:
    """A model of another text, so that most of it is unknown."""
    task = elman.TextTask(vocab, reverse=reverse)
    ids = vocab.encode(TokenSequence.read([text], vocab.level))
    return elman.NGram.fit(task, task.reading_order(ids).copy(), order=1)


@given(TEXTS, st.lists(st.integers(1, 9), max_size=20))
def test_words_give_back_the_text_that_was_read_whatever_the_pieces(text: str, sizes: list[int]) -> None:
    pieces, rest = [], text
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    tokens = TokenSequence.read([*pieces, rest], "word")
    assert tokens.text() == text
    assert (tokens.characters, tokens.bytes) == (len(text), len(text.encode()))
    assert tokens.tokens() == TokenSequence.read([text], "word").tokens()


@given(TEXTS, TEXTS, st.sampled_from(LEVELS), st.integers(1, 3), st.booleans(), st.integers(1, 40))
def test_a_part_gives_back_its_text_and_knows_its_length(
    training: str, text: str, level: Level, min_count: int, reverse: bool, count: int
) -> None:
    try:
        vocab = vocab_of(training, level, min_count)
    except DataError:  # nothing occurs so often
        return
    model = unigram(vocab, training, reverse=reverse)
    whole = part_of(model, text)
    assert whole.text_bytes(vocab) == text.encode()
    tokens = TokenSequence.read([text], level)
    few = min(count, len(tokens))
    first = whole.first(few, vocab)
    expected = tokens[len(tokens) - few :] if reverse else tokens[:few]
    assert first.text_bytes(vocab) == (expected.codes.tobytes() if level == "byte" else expected.text().encode())
    for part in (whole, first):
        written = part.text_bytes(vocab)
        assert part.bytes == len(written)
        assert part.characters == sum(byte & 0xC0 != 0x80 for byte in written)
    assert whole.first_of_text(few, vocab).text_bytes(vocab) == text.encode()[: len(tokens[:few].text().encode())] or (
        level == "byte"
    )


@given(TEXTS, TEXTS, st.sampled_from(LEVELS), st.integers(1, 3), st.booleans())
@settings(max_examples=100)
def test_evaluate_and_compress_agree_on_any_text_and_vocabulary(
    training: str, text: str, level: Level, min_count: int, reverse: bool
) -> None:
    pytest.importorskip("constriction", reason='needs the "compress" extra')
    try:
        vocab = vocab_of(training, level, min_count)
    except DataError:
        return
    model = unigram(vocab, training, reverse=reverse)
    score = elman.evaluate(model, text)
    written = elman.compress(model, text.encode(), details=True)
    assert score.other_bits is not None
    assert score.other_bits == pytest.approx(written.other_bits, rel=1e-9, abs=1e-9)
    bits = written.model_bits + written.other_bits
    assert score.bits_per_character * len(text) == pytest.approx(bits, rel=0.005, abs=1e-6)
    assert score.bits_per_byte * len(text.encode()) == pytest.approx(bits, rel=0.005, abs=1e-6)
    if written.streams:  # the file itself: 32 bits at the end of the body, and what rounding adds
        assert bits <= 8 * (len(written.data) - written.header) <= bits * 1.005 + 32 + 0.01 * written.tokens


@given(TEXTS, TEXTS, st.sampled_from(LEVELS), st.integers(1, 3), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_a_byte_order_mark_is_no_token_but_counted_and_paid_for(
    training: str, text: str, level: Level, min_count: int, reverse: bool, unknown: bool
) -> None:
    pytest.importorskip("constriction", reason='needs the "compress" extra')
    try:
        vocab = vocab_of(training, level, min_count, unknown=unknown)
    except DataError:
        return
    model, contents = unigram(vocab, training, reverse=reverse), codecs.BOM_UTF8 + text.encode()
    with TemporaryDirectory() as folder:
        file = Path(folder, "marked.txt")
        file.write_bytes(contents)
        try:
            part = read_part([str(file)], vocab, drop_unknown=True, reverse=reverse)
        except DataError:  # the vocabulary has none of it
            return
    assert not unknown or part.ids.tolist() == part_of(model, text).ids.tolist()
    assert part.text_bytes(vocab) == contents
    assert (part.characters, part.bytes) == (1 + len(text), len(contents))
    cut = part.first(1, vocab)
    assert cut.text_bytes(vocab).startswith(codecs.BOM_UTF8) == (not reverse or len(part.ids) == 1)
    score, written = elman.evaluate(model, part), elman.compress(model, contents, details=True)
    assert score.other_bits == pytest.approx(written.other_bits, rel=1e-9)
    assert score.other_bits >= 8 * len(codecs.BOM_UTF8)
    assert other_bits_by_token(part, vocab).sum() == pytest.approx(score.other_bits)
    assert score.bits_per_byte * len(contents) == pytest.approx(written.model_bits + written.other_bits, rel=0.005)
    assert elman.decompress(model, written.data) == contents


def test_a_file_with_a_byte_order_mark_is_compressed_as_itself(tmp_path: Path) -> None:
    pytest.importorskip("constriction", reason='needs the "compress" extra')
    text = "so it goes, and so it went.\n" * 50
    vocab = vocab_of(text, "char")
    model = elman.NGram.fit(elman.TextTask(vocab), vocab.encode(text), order=8)
    contents = codecs.BOM_UTF8 + text.encode()
    made = elman.compress(model, contents, details=True)
    assert made.streams == 1  # coded rather than stored
    assert (made.tokens, made.characters) == (len(text), 1 + len(text))
    assert elman.decompress(model, made.data) == contents
    plain = elman.compress(model, text.encode(), details=True)
    assert made.other_bits - plain.other_bits == pytest.approx(4 * math.log2(257))


def test_the_marks_of_several_files_count(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(codecs.BOM_UTF8 + b"one two\n")
    (tmp_path / "c").write_bytes(b"three\n")
    for level in LEVELS:
        corpus = read_corpus([str(tmp_path)], tokens=level, held_out=0)
        assert (corpus.train.characters, corpus.train.bytes) == (2 + 22, 6 + 22)
        cleaned = read_corpus([str(tmp_path)], tokens=level, held_out=0, normalize="lower")
        assert cleaned.train.bytes == 22  # a normalized text is its own original
        held = read_corpus([str(tmp_path)], tokens=level, held_out=2).held_out
        assert held.originals.marks == 0


@pytest.mark.parametrize("level", ["char", "word"])
@pytest.mark.parametrize("order", [1, 3])
def test_symbols_that_were_left_out_are_paid_for(tmp_path: Path, level: Level, order: int) -> None:
    text = "the cat  sat on\nthe zebra\n" * 20
    (tmp_path / "text.txt").write_text(text)
    vocab = vocab_of("the cat sat on\n", level, unknown=False)
    part = read_part([str(tmp_path / "text.txt")], vocab, drop_unknown=True)
    assert part.unknown == (3 * 20 if level == "char" else 20)
    assert part.text_bytes(vocab) == text.encode()
    assert (part.characters, part.bytes) == (len(text), len(text))
    model = elman.NGram.fit(elman.TextTask(vocab), vocab.encode("the cat sat on\n" * 9), order=order)
    pytest.importorskip("constriction", reason='needs the "compress" extra')
    written = elman.compress(model, text.encode(), details=True)
    assert other_bits(part, vocab) == pytest.approx(written.other_bits)
    assert elman.evaluate(model, part).bits_per_character * len(text) == pytest.approx(
        written.model_bits + written.other_bits, rel=0.005
    )
    assert elman.decompress(model, written.data) == text.encode()
    network = elman.Recurrent(elman.TextTask(vocab), cell="gru", hidden=5)
    written = elman.compress(network, text.encode(), details=True)
    assert elman.evaluate(network, part).nats == pytest.approx(written.model_bits * math.log(2), rel=1e-4)
    assert elman.decompress(network, written.data) == text.encode()


def test_unknown_ids_without_their_text_have_no_bits() -> None:
    vocab = elman.Vocab.chars("abab", min_count=2)
    model = elman.NGram.fit(elman.TextTask(vocab), vocab.encode("abab"), order=1)
    score = elman.evaluate(model, np.array([1, 0, 2], np.uint8))
    assert math.isnan(score.bits_per_character)
    assert score.metrics["bits_per_byte"] is None
    assert math.isfinite(score.perplexity)


@given(st.lists(st.integers(0, 4), max_size=30))
def test_bits_of_counts_that_grow_do_not_depend_on_the_order(symbols: list[int]) -> None:
    probability, counts = Fraction(1), [0] * 5
    for symbol in symbols:
        probability *= Fraction(1 + 32 * counts[symbol], 7 + 32 * len(symbols[: sum(counts)]))
        counts[symbol] += 1
    exact = math.log2(probability.denominator) - math.log2(probability.numerator)
    assert adaptive_bits(counts, 1.0, 32.0, 7) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_comparison_and_a_run_report_those_bits(tmp_path: Path, level: Level, script: str) -> None:
    text = SCRIPTS[script][:1500] + "\n"
    file = tmp_path / "text.txt"
    file.write_text(text, encoding="utf-8")
    corpus = read_corpus([str(file)], tokens=level, min_count=2)
    assert corpus.held_out is not None
    result = elman.compare(corpus, ["2-gram"])
    (row,) = result.models
    ngram = elman.NGram.fit(elman.TextTask.of(corpus), corpus.train.ids, order=2)
    score = elman.evaluate(ngram, corpus.held_out)
    measured = row.measured[0]
    assert measured.metrics["bits_per_character"] == pytest.approx(score.bits_per_character)
    assert measured.characters == sum(byte & 0xC0 != 0x80 for byte in corpus.held_out.text_bytes(corpus.vocab))
    whole = b"".join(part.text_bytes(corpus.vocab) for part in corpus.parts)
    assert whole == text.encode()
    for entry in result.entries:
        bits = entry.measured[0].metrics["bits_per_character"]
        assert bits is not None
        assert bits >= -1e-9  # a sum of nats that are 0 rounds
        if entry.kind != "compressor" and corpus.held_out.unknown:
            assert bits * measured.characters > (measured.other_bits or 0) > 0


def test_originals_of_a_reversed_part_are_those_of_the_text() -> None:
    vocab = elman.Vocab.words("a b")
    tokens = TokenSequence.read(["a  zebra b\nlion "], "word")
    part = Split("text", vocab.encode(tokens), 0, 0, 2, Originals.of(tokens, vocab))
    back = reversed_split(part)
    assert back.ids.tolist() == part.ids.tolist()[::-1]
    assert back.text_bytes(vocab) == part.text_bytes(vocab) == b"a  zebra b\nlion "
    assert other_bits(back, vocab) == pytest.approx(other_bits(part, vocab))
    assert back.first(1, vocab).text_bytes(vocab) == b"lion "
    assert back.first_of_text(1, vocab).text_bytes(vocab) == b"a"
    assert back.last_of_text(2, vocab).text_bytes(vocab) == b"\nlion "


def test_a_text_that_is_predicted_well_is_not_cut_into_costly_streams() -> None:
    pytest.importorskip("constriction", reason='needs the "compress" extra')
    text = "so it goes, and so it went.\n" * 1500  # 42,000 characters, 8 streams of 5,000
    vocab = vocab_of(text, "char")
    model = elman.NGram.fit(elman.TextTask(vocab), vocab.encode(text), order=8)
    score, made = elman.evaluate(model, text), elman.compress(model, text.encode(), details=True)
    assert made.streams == 1
    assert made.model_bits == pytest.approx(score.bits_per_character * len(text), rel=0.005)
    assert elman.decompress(model, made.data) == text.encode()
