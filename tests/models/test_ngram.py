"""n-gram probabilities: against fractions written out by hand, sums, limits, and published figures."""

import math
from collections import Counter
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from helpers import task, tokens

import elman
from elman.data.sources.time_machine import FILE, data_home
from elman.errors import ConfigError, DataError
from elman.models.ngram.model import NGram, best_order
from elman.models.ngram.smoothing import FALLBACK, SMOOTHINGS, _discounts

SIZE = 7  # of `task`: <unk> and a to f
TEXT = tokens(150, seed=3, size=4)  # d, e and f never occur


def model(order=3, smoothing="kneser-ney", eps=1.0, ids=TEXT):
    return NGram.fit(task(), ids, order=order, smoothing=smoothing, eps=float(eps))


def slices(n, ids=TEXT):
    text = (0, *ids.tolist())
    return Counter(text[i : i + n] for i in range(n == 1, len(text) - n + 1))


class Slow:
    """The definitions, one n-gram at a time, in exact arithmetic."""

    def __init__(self, order, smoothing, eps):
        self.order, self.smoothing, self.eps = order, smoothing, Fraction(eps)
        self.n = {n: slices(n) for n in range(1, order + 1)}
        self.after = {n: self._adjusted(n) for n in self.n}

    def _adjusted(self, n):
        """Counts, or for Kneser-Ney's shorter n-grams the number of tokens before them."""
        if self.smoothing != "kneser-ney" or n == self.order:
            return dict(self.n[n])
        before = Counter(gram[1:] for gram in self.n[n + 1])
        return {gram: before[gram] or 1 for gram in self.n[n]}

    def p(self, context, token, n=None):
        n = min(len(context) + 1, self.order) if n is None else n
        if n == 0:
            return Fraction(1, SIZE)
        context = context[len(context) - n + 1 :]
        times = {gram[-1]: c for gram, c in self.after[n].items() if gram[:-1] == context}
        shorter = 1 if self.smoothing == "laplace" and n > 1 else n - 1
        lower = self.p(context, token, shorter)
        total, mine = sum(times.values()), times.get(token, 0)
        if not total:
            return lower
        if self.smoothing.startswith("laplace"):
            return (mine + self.eps * lower) / (total + self.eps)
        if self.smoothing == "witten-bell":
            return (mine + len(times) * lower) / (total + len(times))
        d = [Fraction(0), *self.discounts(n)]
        taken = sum(d[min(c, 3)] for c in times.values())
        return (mine - d[min(mine, 3)] + taken * lower) / total

    def discounts(self, n):
        kinds = Counter(self.after[n].values())
        n1, n2, n3, n4 = (Fraction(kinds[i]) for i in (1, 2, 3, 4))
        if not n1 * n2 * n3 * n4:
            return [Fraction(d) for d in FALLBACK]
        y = n1 / (n1 + 2 * n2)
        d = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        return d if all(0 <= x <= i for i, x in enumerate(d, 1)) else [Fraction(x) for x in FALLBACK]


CASES = [(s, o, e) for s in SMOOTHINGS for o in (1, 2, 3, 5) for e in ((0.25, 3) if "laplace" in s else (1,))]


@pytest.mark.parametrize(("smoothing", "order", "eps"), CASES)
def test_probabilities_equal_the_definition(smoothing, order, eps):
    fast, slow = model(order, smoothing, eps), Slow(order, smoothing, eps)
    for ids in (TEXT[:40], tokens(60, seed=9, size=SIZE)):  # seen, and with contexts and tokens that were not
        read = (0, *ids.tolist())
        inputs = torch.tensor([read[:-1]])
        logits, _ = fast(inputs, fast.initial(1))
        for t in range(len(ids)):
            expected = [float(slow.p(read[: t + 1], token)) for token in range(SIZE)]
            assert logits[0, t].exp().tolist() == pytest.approx(expected, rel=1e-10)
        each = [-math.log(slow.p(read[: t + 1], read[t + 1])) for t in range(len(ids))]
        assert fast.surprisals(ids) == pytest.approx(each, rel=1e-10)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_every_conditional_sums_to_one(smoothing):
    m = model(3, smoothing)
    contexts = torch.tensor(list(product(range(SIZE), repeat=2)))
    logits, _ = m(contexts, m.initial(len(contexts)))
    torch.testing.assert_close(logits.exp().sum(-1), torch.ones(len(contexts), 2).double(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("smoothing", ["laplace", "laplace-recursive"])
def test_the_limits_of_eps(smoothing):
    m, n2, n3 = model(3, smoothing, 0), slices(2), slices(3)
    p = m(torch.tensor([[1, 2]]), m.initial(1))[0][0, 1].exp()
    assert p.tolist() == pytest.approx([n3[(1, 2, w)] / sum(n3[(1, 2, v)] for v in range(SIZE)) for w in range(SIZE)])
    assert n2[(1, 2)] == sum(n3[(1, 2, v)] for v in range(SIZE))
    assert math.isinf(m.surprisals(np.array([5], np.uint8))[0])
    flat = model(3, smoothing, 1e12)
    assert flat(torch.tensor([[1, 2]]), flat.initial(1))[0].exp().numpy() == pytest.approx(1 / SIZE, rel=1e-9)


def test_the_trigram_line_backs_off_to_the_unigram_literally():
    """After a pair that never occurred the bigram is not used (Smola and Li 2019)."""
    m = model(3, "laplace", 2.0)
    p = m(torch.tensor([[6, 1]]), m.initial(1))[0][0, 1].exp()
    n1 = slices(1)
    assert p.tolist() == pytest.approx([(n1[(w,)] + 2 / SIZE) / (len(TEXT) + 2) for w in range(SIZE)])


def test_discounts_of_a_text_that_cannot_tell_them():
    assert _discounts(np.array([1, 1, 2, 5])) == FALLBACK
    assert _discounts(np.array([7, 8, 9])) == FALLBACK
    assert _discounts(np.repeat([1, 2, 3, 4], [40, 1, 60, 1])) == FALLBACK, "D_2 would be negative"
    n1, n2, n3, n4 = 40, 20, 10, 5
    times = np.repeat([1, 2, 3, 4], [n1, n2, n3, n4])
    assert _discounts(times) == pytest.approx((1 - 2 * 0.5 * n2 / n1, 2 - 3 * 0.5 * n3 / n2, 3 - 4 * 0.5 * n4 / n3))


def test_the_surprisals_of_a_stream_are_those_of_the_protocol():
    m, ids = model(4), tokens(300, seed=5, size=SIZE)
    score = elman.evaluate(m, ids)
    assert score.nats == pytest.approx(m.surprisals(ids).sum(), rel=1e-12)
    assert score.perplexity == pytest.approx(math.exp(m.surprisals(ids).mean()))
    assert elman.evaluate(m, ids, protocol="reset", window=5).nats != pytest.approx(score.nats)


def test_the_order_is_chosen_on_the_end_of_the_training_text():
    rng, chain = np.random.default_rng(0), [1]
    for _ in range(3000):
        chain.append(int(rng.choice([1, 2, 3], p=np.roll([0.9, 0.05, 0.05], chain[-1]))))
    ids = np.array(chain, np.uint8)
    bits = [elman.evaluate(model(n, ids=ids[:2701]), ids[2701:]).nats for n in range(1, 9)]
    assert best_order(task(), ids) == 1 + int(np.argmin(bits)) > 1
    assert NGram.fit(task(), np.tile(tokens(60, seed=1), 30)).order > 2
    assert [NGram.fit(task(), tokens(n)).order for n in (1, 2, 3)] == [1, 2, 2]


def test_the_order_is_that_of_the_text_whatever_the_memory(monkeypatch):
    ids, counts = np.tile(tokens(60, seed=1), 30), elman.models.ngram.counts
    best = best_order(task(), ids)
    needed = counts.estimate(len(ids), SIZE, 8)
    monkeypatch.setattr(counts, "memory", lambda: needed)
    assert best_order(task(), ids) == best > 2
    monkeypatch.setattr(counts, "memory", lambda: needed - 1)
    with pytest.raises(ConfigError, match=r"n-grams of up to 8 of 1,800 tokens may take .*: lower the order, or"):
        NGram.fit(task(), ids)
    assert NGram.fit(task(), ids, order=2).order == 2


def test_a_text_is_continued():
    text = "the quick brown fox jumps over the lazy dog. " * 5
    vocab = elman.Vocab.chars(text)
    m = NGram.fit(elman.TextTask(vocab), vocab.encode(text), order=6)
    assert "".join(elman.generate(m, "the qu", 20, temperature=0)) == "ick brown fox jumps "
    assert len("".join(elman.generate(m, "the", 50, seed=1))) == 50


def test_old_names_give_the_same_with_a_warning():
    with pytest.warns(DeprecationWarning, match="NGram.count is now NGram.fit; the old name goes in 0.3"):
        m = NGram.count(task(), TEXT, order=3)
    with pytest.warns(DeprecationWarning, match="NGram.costs is now NGram.surprisals"):
        assert m.costs(TEXT).tolist() == model(3).surprisals(TEXT).tolist()


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match=r"'kneser'.*did you mean kneser-ney"):
        model(2, "kneser")
    for eps in (-1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="eps"):
            model(2, "laplace", eps)
    with pytest.raises(DataError, match="no n-gram of 9"):
        model(9, ids=TEXT[:5])


# Bits per character of the last tenth of The Time Machine, known beforehand; `laplace` as in Smola and Li 2019.
FIGURES = {
    "letters": {"laplace": {1: 4.064, 2: 3.264, 3: 2.678}, "kneser-ney": {4: 2.189, 5: 1.960, 6: 1.895, 7: 1.883}},
    "none": {"laplace": {1: 4.440, 2: 3.503, 3: 2.867}, "kneser-ney": {4: 2.372, 5: 2.172, 6: 2.124, 7: 2.120}},
}


@pytest.mark.skipif(not (data_home() / FILE).exists(), reason="needs The Time Machine: set ELMAN_DATA_HOME")
@pytest.mark.parametrize("clean", FIGURES)
def test_published_bits_of_the_book(clean):
    corpus = elman.read_corpus(["time-machine"], normalize=clean, unknown=False)
    t = elman.TextTask(corpus.vocab)
    for smoothing, figures in FIGURES[clean].items():
        for order, bits in figures.items():
            m = NGram.fit(t, corpus.train.ids, order=order, smoothing=smoothing)
            assert m.surprisals(corpus.held_out.ids).mean() / math.log(2) == pytest.approx(bits, abs=0.0015)
    assert best_order(t, corpus.train.ids) == 7


@pytest.mark.skipif(not (data_home() / FILE).exists(), reason="needs The Time Machine: set ELMAN_DATA_HOME")
def test_the_split_of_the_textbook():
    """Trained on the first 10,000 characters, as Zhang et al. 2021, perplexity on the next 5,000."""
    corpus = elman.read_corpus(["time-machine"], normalize="letters", limit=15_000, held_out=5_000, unknown=False)
    m = NGram.fit(elman.TextTask(corpus.vocab), corpus.train.ids)
    assert elman.evaluate(m, corpus.held_out).perplexity < 4.8
    witten_bell = NGram.fit(m.task, corpus.train.ids, order=4, smoothing="witten-bell")
    assert elman.evaluate(witten_bell, corpus.held_out).perplexity == pytest.approx(5.37, abs=0.02)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("text", ["abcd" * 9, "abcd", "aaaaaaaa", "ab" * 30 + "cd" * 30, "aabbccdd" * 4], ids=str)
def test_counts_that_tell_no_discounts_still_predict_all_symbols(text, smoothing):
    vocab = elman.Vocab.chars("abcde")  # "e" and <unk> never occur
    model = elman.NGram.fit(elman.TextTask(vocab), vocab.encode(text), order=3, smoothing=smoothing)
    read = torch.from_numpy(np.concatenate(([0], vocab.encode(text + "edcba?"))).astype(np.int64))[None]
    logits, _ = model(read, model.initial(1))
    assert (logits.double().exp().sum(-1) - 1).abs().max() < 1e-6
    assert logits.exp().min() > 0
    score = elman.evaluate(model, "a?eb")
    assert math.isfinite(score.perplexity)
    assert (score.tokens, score.unknown) == (4, 1)


def test_an_empty_text_is_named():
    vocab = elman.Vocab.chars("ab")
    with pytest.raises(DataError, match="the text is empty"):
        elman.NGram.fit(elman.TextTask(vocab), [])
