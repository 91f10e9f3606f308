"""Counted experts: against a parse of the text with regular expressions, and scalar counts in dictionaries."""

import re
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from helpers import V, task, tokens
from hypothesis import example, given, settings
from hypothesis import strategies as st

import elman
from elman.models.ngram import experts
from elman.models.ngram.expert_sets import DenseExperts
from elman.models.ngram.experts import FOLDS, KINDS, ContextFeatures, Experts, mixed_experts

UNKNOWN = "\ue000"  # stands for <unk> where a text is parsed: no letter, and in no text here
CHARS = "abAB'\u2019\u02bc\u0301\u200d\u00ad09 .\n\u00e9\u00c9\u00df\u6771\u4eac\u0663\u01c5\u212b\u00c5-"
LONGEST = 255


def symbols(vocab, ids):
    """One character a token, so that a text of any level can be parsed as a string."""
    if vocab.level == "byte":
        return "".join(chr(i) for i in ids)
    return "".join(t if len(t) == 1 else chr(0xE000 + vocab[t]) for t in vocab.to_tokens(ids))


def parsed(vocab, read):
    """What the contexts after `read` mean: five tuples that differ where what stands around the next token does."""
    text = symbols(vocab, read)
    extends = "\u0301\u200d\u00ad" if vocab.segmentation == "uax29" else ""
    quotes = "\u2019\u02bc" if vocab.segmentation == "uax29" else ""
    letter = rf"(?:[^\W_]|['{quotes}])"
    letters = r"[0-9A-Za-z'\x80-\xff]+" if vocab.level == "byte" else rf"{letter}(?:{letter}|[\0{extends}])*"
    letters = r"(?!)" if vocab.level == "word" else letters  # the words are the tokens
    lower = [
        tuple("'" if c in quotes else c.lower() if vocab.level != "byte" or c < "\x80" else c for c in w)
        for w in re.findall(letters, text)
    ]
    inside = re.search(letters + r"\Z", text) is not None
    word = lower.pop() if inside else ()
    before, earlier = [*reversed(lower), (), ()][:2]
    column = min(LONGEST, len(text) - text.rfind("\n") - 1)
    return (
        (word, "" if inside else text[-1]),
        (word, before),
        (word, before, earlier),
        (word, earlier),
        (column, inside),
    )


def walked(vocab, read):
    features = ContextFeatures(vocab)
    return features.extract(np.array([read], np.int64), features.initial(1))[0][0]


def vocabularies():
    return {
        "char": elman.Vocab.chars(CHARS),
        "char, none unknown": elman.Vocab.chars(CHARS, unknown=False),
        "char, version 0.1": elman.Vocab(CHARS, level="char", segmentation="0.1"),
        "lower only": elman.Vocab.chars("ab\n c\u00c5\u212b"),  # two of one lower case, which is not there
        "byte": elman.Vocab.bytes(),
        "word": elman.Vocab.words("It's a b A 7 one One two , \n"),
    }


@pytest.mark.parametrize("level", vocabularies())
@settings(max_examples=60)
@given(data=st.data())
def test_contexts_are_equal_where_what_stands_around_is(level, data):
    vocab = vocabularies()[level]
    tight = st.lists(
        st.sampled_from([i for i in range(len(vocab)) if level != "byte" or chr(i) in "abAB'9 \n\x80\xc3\xe9"])
    )
    texts = [[0, *ids] for ids in data.draw(st.lists(tight, min_size=1, max_size=4))]
    pairs = [set() for _ in range(KINDS)]
    for read in texts:
        for t, keys in enumerate(walked(vocab, read).tolist(), 1):
            for seen, key, meaning in zip(pairs, keys, parsed(vocab, read[:t]), strict=True):
                seen.add((key, meaning))
    for k, seen in enumerate(pairs):
        assert len({key for key, _ in seen}) == len(seen) == len({meaning for _, meaning in seen}), k


def test_words_are_split_as_a_reader_would():
    vocab = elman.Vocab.chars(CHARS + "CTcdefghijklmnopqrstuvwxyz", unknown=False)

    def kind(k, *texts):
        return [int(walked(vocab, vocab.encode(text))[-1, k]) for text in texts]

    for k in range(4):
        assert len(set(kind(k, "the CAt's", "The caT's", "the cat's"))) == 1
    assert len(set(kind(0, "one. ", "one ", "a ", " "))) == 1  # the separator alone
    assert len(set(kind(0, "one.", "one ", "one\n"))) == 3
    assert len(set(kind(1, "one two th", "six two th", "six three th"))) == 2
    assert len(set(kind(2, "one two th", "six two th", "one   -two\nth"))) == 2
    assert len(set(kind(3, "one two th", "one six th", "two one th"))) == 2
    assert kind(4, "ab\ncd e", "\nabc ", "\nabcd", "\nabc.") == [9, 8, 9, 8]


def test_a_line_has_no_end():
    vocab = elman.Vocab.chars("a \n")
    keys = walked(vocab, vocab.encode("\n" + " " * 400))[:, 4]
    assert keys.tolist() == [2 * min(c, 255) for c in range(401)]


def test_bytes_above_ascii_are_letters_each_its_own():
    vocab = elman.Vocab.bytes()
    a, b = (walked(vocab, vocab.encode(word)) for word in ("\u043c\u0438\u0440", "\u043d\u0435\u0442"))
    assert a[0].tolist() == b[0].tolist()  # the first byte of both
    assert (a[-1, :4] != b[-1, :4]).all()


@given(st.text(CHARS, min_size=1, max_size=40), st.sets(st.integers(1, 39)), st.integers(0, 3))
def test_any_cuts_equal_reading_it_whole_and_no_token_changes_nothing(text, cuts, padding):
    vocab = elman.Vocab.chars(CHARS)
    features = ContextFeatures(vocab)
    both = np.stack((vocab.encode(text), vocab.encode(text[::-1]))).astype(np.int64)
    whole, last = features.extract(both, features.initial(2))
    memory, pieces = features.initial(2), []
    for piece in np.split(both, sorted(c for c in cuts if c < len(text)), 1):
        kept = memory.copy()
        nothing, memory = features.extract(np.full((2, padding), -1), memory)
        assert np.array_equal(memory, kept)
        assert all((nothing[:, t] == pieces[-1][:, -1]).all() for t in range(padding) if pieces)
        keys, after = features.extract(piece, memory)
        assert np.array_equal(memory, kept)
        memory = after
        pieces.append(keys)
    assert np.array_equal(np.concatenate(pieces, 1), whole)
    assert np.array_equal(memory, last)


def long_text(n, seed=0, letters="ab  \n'"):
    vocab = elman.Vocab.chars(CHARS)
    return vocab, vocab.encode("".join(np.random.default_rng(seed).choice(list(letters), n)))


@pytest.mark.parametrize("n", [1, 2, 511, 512, 513, 5000])
def test_the_contexts_of_a_text_are_those_of_reading_it_in_one_row(n):
    vocab, ids = long_text(n)
    assert np.array_equal(ContextFeatures(vocab).of(ids), walked(vocab, [0, *ids[:-1]]))


def test_rows_of_any_length_change_nothing_but_what_is_older_than_their_warmth(monkeypatch):
    monkeypatch.setattr(experts, "ROW", 32)
    monkeypatch.setattr(experts, "WARM", 24)
    monkeypatch.setattr(experts, "LONGEST_LINE", 20)
    vocab, ids = long_text(300, letters="ab  ")
    assert np.array_equal(ContextFeatures(vocab).of(ids), walked(vocab, [0, *ids[:-1]]))
    ids = vocab.encode("ab a" + "." * 76 + "b")
    found, whole = ContextFeatures(vocab).of(ids), walked(vocab, [0, *ids[:-1]])
    differ = (found != whole).any(1)
    assert np.flatnonzero(differ).tolist() == list(range(32, 81))  # the words were more than 24 tokens ago
    assert np.array_equal(found[32:64], walked(vocab, ids[32 - 25 : 63])[24:])
    assert np.array_equal(found[:, [0, 4]], whole[:, [0, 4]])


# --- their distributions


def discounts(times):
    """D of once, twice, and more often (Chen and Goodman 1999)."""
    n = [0, *(sum(c == i for c in times) for i in (1, 2, 3, 4))]
    if not all(n[1:]):
        return 0.5, 1.0, 1.5
    y = n[1] / (n[1] + 2 * n[2])
    d = 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]
    return d if min(d) >= 0 else (0.5, 1.0, 1.5)


class Slow:
    """The definitions, one context and one token at a time, in dictionaries."""

    def __init__(self, vocab, parts, order):
        self.vocab, self.size = vocab, len(vocab)
        ids = [int(i) for part in parts for i in part]
        self.order = min(order, len(ids))
        text = (0, *ids)
        self.grams = []
        for n in range(1, self.order + 1):
            followed, before = defaultdict(Counter), defaultdict(set)
            for i in range(1, len(text) - n + 1):
                before[text[i : i + n]].add(text[i - 1])
            for i in range(n == 1, len(text) - n + 1):
                *context, token = gram = text[i : i + n]
                times = followed[tuple(context)]
                times[token] = times[token] + 1 if n == self.order else len(before[gram]) or 1
            self.grams.append(followed)
        self.kinds = [defaultdict(Counter) for _ in range(KINDS)]
        for part in parts:
            read = [0, *(int(i) for i in part)]
            for t in range(1, len(read)):
                for followed, context in zip(self.kinds, parsed(vocab, read[:t]), strict=True):
                    followed[context][read[t]] += 1

    def interpolate_(self, followed, context, general):
        times = followed.get(context)
        if not times:
            return general, 1.0
        d = (0.0, *discounts([c for each in followed.values() for c in each.values()]))
        total = sum(times.values())
        weight = sum(d[min(c, 3)] for c in times.values()) / total
        return [(times[w] - d[min(times[w], 3)]) / total + weight * general[w] for w in range(self.size)], weight

    def after(self, read, number):
        """Probabilities and backoff weights of all experts after `read`, START included."""
        uniform = [1 / self.size] * self.size
        if not self.order:
            return [uniform] * number, [1.0] * number
        unigram, _ = self.interpolate_(self.grams[0], (), uniform)
        expected, weights, running = [], [], unigram
        for n in range(2, number - KINDS + 2):
            weight = 1.0
            if n <= self.order and len(read) >= n - 1:
                running, weight = self.interpolate_(self.grams[n - 1], tuple(read[len(read) - n + 1 :]), running)
            expected.append(running)
            weights.append(weight)
        for k, context in enumerate(parsed(self.vocab, read)):
            p, weight = self.interpolate_(self.kinds[k], context, unigram if k == KINDS - 1 else running)
            expected.append(p)
            weights.append(weight)
        return expected, weights


def windows(vocab, read, order):
    """The arguments of `Experts.after` for a stream."""
    padded = np.concatenate((np.full(order - 1, -1), np.array(read, np.int64)))
    return padded[None], walked(vocab, read)[None]


TEXTS = st.lists(st.integers(0, 4), max_size=50)
SMALL = elman.Vocab.chars("ab \n")


@settings(max_examples=60)
@given(st.lists(TEXTS, min_size=1, max_size=3), TEXTS, st.integers(2, 6))
@example([[]], [1, 2], 3)
@example([[1]], [1, 1], 3)
@example([[1, 2]], [1, 2, 1], 3)
@example([[], [1, 2, 3] * 9, [4]], [1, 2, 3, 4, 0, 1], 4)
def test_experts_equal_the_definition(parts, then, order):
    parts = [np.array(part, np.uint8) for part in parts]
    number = Experts.number(order)
    fast, slow = Experts(SMALL, parts, order), Slow(SMALL, parts, order)
    for read in ([0, *then], [0, *parts[-1]]):
        log_p, weight = fast.after(*windows(SMALL, read, order))
        assert log_p.shape == (1, len(read), number, 5)
        for t in range(len(read)):
            expected, weights = slow.after(read[: t + 1], number)
            assert np.exp(log_p[0, t]) == pytest.approx(np.array(expected), rel=2e-5, abs=1e-6)
            assert weight[0, t] == pytest.approx(np.array(weights), rel=1e-6)


def test_contexts_that_occur_often_have_discounts_of_their_own():
    """Or else the test above would show the fallback alone."""
    vocab = elman.Vocab.chars("abcdef \n")
    ids = np.random.default_rng(2).choice(len(vocab), 900, p=np.arange(1, 10) ** 2 / 285).astype(np.uint8)
    fast, slow = Experts(vocab, [ids], 4), Slow(vocab, [ids], 4)
    times = [[c for each in followed.values() for c in each.values()] for followed in (*slow.grams, *slow.kinds)]
    assert sum(discounts(each) != (0.5, 1.0, 1.5) for each in times) >= 3
    read = [0, *ids[700:730].tolist()]
    log_p, weight = fast.after(*windows(vocab, read, 4))
    for t in (0, 1, 2, 17, 30):
        expected, weights = slow.after(read[: t + 1], 8)
        assert np.exp(log_p[0, t]) == pytest.approx(np.array(expected), rel=2e-5)
        assert weight[0, t] == pytest.approx(np.array(weights), rel=1e-6)


def test_an_alphabet_of_one_symbol_is_certain():
    vocab = elman.Vocab.chars("a", unknown=False)
    for n in (0, 1, 2, 9):
        log_p, weight = Experts(vocab, [np.zeros(n, np.uint8)], 5).after(*windows(vocab, [0] * 4, 5))
        assert log_p == pytest.approx(0, abs=1e-6)
        assert ((weight >= 0) & (weight <= 1)).all()


def test_the_longest_level_is_the_n_gram():
    ids, read = tokens(3000, seed=1), tokens(200, seed=2, size=V)
    for order in (2, 5, 8):
        ngram = elman.NGram.fit(task(), ids, order=order)
        log_p, _ = Experts(task().vocab, [ids], order).after(*windows(task().vocab, [0, *read], order))
        expected, _ = ngram(torch.from_numpy(np.array([[0, *read]], np.int64)), ngram.initial(1))
        assert log_p[:, :, order - 2] == pytest.approx(expected.numpy(), abs=1e-5)


def test_every_expert_of_many_rows_gives_a_distribution_and_rows_do_not_mix():
    features = ContextFeatures(task().vocab)
    read = np.random.default_rng(0).integers(-1, V, (6, 4 + 11))
    keys, _ = features.extract(read[:, 4:], features.initial(6))
    some = Experts(task().vocab, [tokens(400), tokens(5)], 5)
    log_p, weight = some.after(read, keys)
    assert (log_p.dtype, weight.dtype) == (np.float32, np.float32)
    assert np.exp(log_p).sum(-1) == pytest.approx(1, abs=1e-5)
    for row in range(6):
        for t in range(11):
            alone = some.after(read[row : row + 1, t : t + 5], keys[row : row + 1, t : t + 1])
            assert np.array_equal(alone[0][0, 0], log_p[row, t])
            assert np.array_equal(alone[1][0, 0], weight[row, t])


def test_a_probability_of_nothing_has_a_logarithm(monkeypatch):
    """No text of a test's length leaves as little as 2^-40 to what never followed: the floor is raised to meet it."""
    vocab = elman.Vocab.chars("ab", unknown=False)
    text = np.tile(np.array([0, 1], np.uint8), 400)
    for floor in (2.0**-40, 2.0**-6):
        monkeypatch.setattr(experts, "FLOOR", floor)
        log_p, _ = Experts(vocab, [text], 2).after(*windows(vocab, text[:20].tolist(), 2))
        assert np.isfinite(log_p).all()
    assert log_p.min() == pytest.approx(np.log(floor))


# --- stretches


def folded(vocab, ids, order, number, read, keys, places):
    """The distributions of experts that have not counted the fold of each target."""
    sets = DenseExperts(vocab, order, ids)
    sets.fold(number)
    return mixed_experts(sets.tables, sets.without(places, np.full((len(places), 1), len(ids))), read, keys)


def everywhere(number, vocab, ids, order, at, width):
    """The distributions of folds in rows of `width` targets that begin at `at`, each read from its own beginning."""
    text = [0, *ids.tolist()]
    features = ContextFeatures(vocab)
    inputs = np.array([(text + [0] * width)[a : a + width] for a in at], np.int64)
    keys, _ = features.extract(inputs, features.initial(len(at)))
    read = np.concatenate((np.full((len(at), order - 1), -1), inputs), 1)
    return read, keys, folded(vocab, ids, order, number, read, keys, np.array(at)[:, None] + np.arange(width))


@pytest.mark.parametrize(("n", "number"), [(100, FOLDS), (97, 8), (61, 3), (7, 8), (1, 8), (2, 2)])
def test_each_target_is_read_by_what_its_stretch_is_not_part_of(n, number):
    vocab, ids, width = task().vocab, tokens(n, seed=4), 9
    at = list(range(0, n, 7))  # windows overlap, cross stretches, and reach beyond the end
    read, keys, (log_p, weight) = everywhere(number, vocab, ids, 3, at, width)
    fold_count = [(n * f // number, n * (f + 1) // number) for f in range(number)]
    alone = {(a, b): Experts(vocab, [ids[:a], ids[b:]], 3) for a, b in fold_count}
    for row, start in enumerate(at):
        for t in range(min(width, n - start)):
            here = start + t
            (own,) = [each for (a, b), each in alone.items() if a <= here < b]
            expected = own.after(read[row : row + 1, t : t + 3], keys[row : row + 1, t : t + 1])
            assert np.array_equal(log_p[row, t], expected[0][0, 0])
            assert np.array_equal(weight[row, t], expected[1][0, 0])


@pytest.mark.parametrize("own", range(4))
def test_what_stands_in_a_stretch_is_not_known_there(own):
    vocab, ids = task().vocab, tokens(200, seed=5)
    other = ids.copy()
    other[50 * own : 50 * (own + 1)] = tokens(50, seed=6)
    at = [0, 38, 47, 100, 145, 190]
    read, keys, (log_p, weight) = everywhere(4, vocab, ids, 4, at, 10)
    places = np.array(at)[:, None] + np.arange(10)
    changed_p, changed_rest = folded(vocab, other, 4, 4, read, keys, places)
    inside = (places >= 50 * own) & (places < 50 * (own + 1))
    assert np.array_equal(log_p[inside], changed_p[inside])
    assert np.array_equal(weight[inside], changed_rest[inside])
    outside = ~inside & (places < 200)
    assert (log_p[outside] != changed_p[outside]).any((1, 2)).all()


def test_marks_joiners_and_typographic_apostrophes_end_no_word():
    text = "हिन्दी ที่นี่ כָּתַב cafe\u0301 don’t donʼt می\u200cخواهم so\u00adft"
    vocab = elman.Vocab.chars(text, unknown=False)
    assert vocab.to_tokens(np.flatnonzero(ContextFeatures(vocab).letter == 0)) == [" "]
    old = elman.Vocab(text, level="char", unknown=False, segmentation="0.1")
    assert len(np.flatnonzero(ContextFeatures(old).letter == 0)) > 10


def test_a_mark_after_punctuation_begins_no_word():
    vocab = elman.Vocab.chars("a! \u0301", unknown=False)
    keys = walked(vocab, vocab.encode("a!\u0301"))[:, 4]
    assert [int(key) % 2 for key in keys] == [1, 0, 0]  # whether it stands in a word
