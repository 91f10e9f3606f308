"""How the frequencies of n-grams fall: their law (Zipf 1949), how few of them occur, how rare most are (S9 to S12).

    n_i is proportional to 1 / i^alpha        log n_i = c - alpha log i        n_i times, rank i by falling times

No token stands before the text here, every type counts, and nothing is smoothed but for the comparison with Laplace.
"""

import math
from dataclasses import dataclass

import numpy as np

from elman.data.batches import Ids
from elman.data.vocab import Vocab
from elman.models.ngram.counts import Counts, Int64Array, sums
from elman.models.ngram.smoothing import laplace

FIRST, LAST = 10, 1000  # ranks that the exponent is fitted on; before them the curve is bent
FEWEST = 10  # ranks that a fit takes at least


@dataclass(frozen=True)
class PowerLaw:
    """A power law, fitted by least squares to log n_i over log i."""

    alpha: float
    """The exponent: 1 is Zipf's law."""
    scale: float
    """exp(c): the times that the law gives the first rank."""
    first: int
    """The ranks that it was fitted on."""
    last: int


@dataclass(frozen=True)
class SingletonStats:
    """What became of n-grams that the first half of a text holds once, in its second half (`tail`)."""

    number: int
    """How many such n-grams there are."""
    observed: float
    """How often each of them occurs in the second half, on average."""
    laplace: float
    """How often additive smoothing (eps 1) of the first half says it would."""


@dataclass(frozen=True, eq=False)
class Frequencies:
    """The n-grams of one length."""

    n: int
    total: int
    """How many there are in the text."""
    types: int
    """How many different ones."""
    singletons: int
    """How many of those occur once."""
    possible: int
    """How many different ones could be made of the tokens that occur."""
    top: tuple[tuple[tuple[str, ...], int], ...]
    """The most frequent, as tokens, and how often each occurs; ties in the order of the vocabulary."""
    times: Int64Array
    """(types,) how often each occurs, falling."""
    line: PowerLaw | None
    """The law; None where there are under 19 types to fit it on."""
    tail: SingletonStats | None
    """None where the first half holds no n-gram once, or a half is shorter than one."""


def ngram_frequencies(ids: Ids, vocab: Vocab, *, order: int = 3, top: int = 10) -> tuple[Frequencies, ...]:
    """The frequencies of the n-grams of 1 to `order` tokens of a text.

    Raises:
        ConfigError: an order under 1, or one that needs more memory than this machine has.
        DataError: a text shorter than `order`.

    Example:
        >>> vocab = Vocab.words("the time machine and the time traveller")
        >>> words, pairs = frequencies(vocab.encode("the time machine and the time traveller"), vocab, order=2)
        >>> pairs.top[:2], pairs.types, pairs.possible
        (((('the', 'time'), 2), (('time', 'machine'), 1)), 5, 25)
    """
    counts = Counts.of(ids, len(vocab), order, bos=False)
    tails = _tails(ids, len(vocab), order)
    types = int((counts.times[0] > 0).sum())
    return tuple(_described(counts, n, types**n, vocab, top, tails[n - 1]) for n in range(1, order + 1))


def _described(
    counts: Counts, n: int, possible: int, vocab: Vocab, top: int, tail: SingletonStats | None
) -> Frequencies:
    times = counts.times[n - 1]
    order = np.argsort(-times, kind="stable")
    falling = times[order]
    falling = falling[falling > 0]
    return Frequencies(
        n=n,
        total=int(falling.sum()),
        types=len(falling),
        singletons=int((falling == 1).sum()),
        possible=possible,
        top=tuple(
            (tuple(vocab.to_tokens(gram)), int(count))
            for gram, count in zip(counts.grams(n, order[:top]).tolist(), falling[:top], strict=False)
        ),
        times=falling,
        line=fit(falling),
        tail=tail,
    )


def fit(times: Int64Array) -> PowerLaw | None:
    """The power law of falling counts over the ranks 10 to 1000, as far as they go; None for under ten ranks.

    alpha = - cov(log i, log n_i) / var(log i)        c = mean(log n_i) + alpha mean(log i)
    """
    last = min(LAST, len(times))
    if last - FIRST + 1 < FEWEST:
        return None
    x, y = np.log(np.arange(FIRST, last + 1)), np.log(times[FIRST - 1 : last])
    alpha = -float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return PowerLaw(alpha + 0.0, math.exp(float(y.mean()) + alpha * float(x.mean())), FIRST, last)


def _tails(ids: Ids, size: int, order: int) -> list[SingletonStats | None]:
    """Of each length; a half may be too short for the longer ones."""
    cut = len(ids) // 2
    most = min(order, cut)
    if not most:
        return [None] * order
    first, second = (Counts.of(half, size, most, bos=False) for half in (ids[:cut], ids[cut:]))
    return [tail(first, second, n) for n in range(1, most + 1)] + [None] * (order - most)


def tail(first: Counts, second: Counts, n: int) -> SingletonStats | None:
    """How n-grams that one text holds once do in another, and how Laplace says they would (S12).

        observed = mean of n'(c w)              over all c w with n(c w) = 1; n of the one text, n' of the other
        laplace  = mean of n'(c) P(w | c)       P(w | c) = (n(c w) + eps P(w)) / (n(c) + eps)      eps = 1

    P is the lecture's (S21): P(w) = (n(w) + eps/m) / (n + eps), with m the symbols of both texts. n(c) counts the c
    that are continued; with no c at all it is the length of the text.
    """
    once = np.flatnonzero(first.times[n - 1] == 1)
    if not len(once):
        return None
    grams, size = first.grams(n, once), first.size
    context = np.zeros(len(once), np.int64)
    for place in range(n - 1):
        context = second.find(place + 1, context, grams[:, place])
    at = second.find(n, context, grams[:, -1])
    continued = sums(second.times[n - 1], second.first_children[n - 1])
    observed = np.where(at >= 0, second.times[n - 1][at], 0)
    met = np.where(context >= 0, continued[context], 0)
    unigram, *_ = levels = laplace(first, 1.0).levels
    shorter = (unigram.share + unigram.rest[0] / size)[grams[:, -1]] if n > 1 else 1 / size
    p = levels[n - 1].share[once] + levels[n - 1].rest[first.keys[n - 1][once] // size] * shorter
    return SingletonStats(len(once), float(observed.mean()), float((met * p).mean()))
