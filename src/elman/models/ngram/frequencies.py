"""Frequencies of n-grams: Zipf's law (Zipf 1949), the share of possible n-grams that occur, and rare n-grams.

    n_i is proportional to 1 / i^alpha        log n_i = c - alpha log i        n_i: the count at rank i

No token is put before the text here, and nothing is smoothed but for the comparison with additive smoothing.
"""

import math
from dataclasses import dataclass

import numpy as np

from elman.arguments import checked
from elman.data.batches import Ids, IdsLike, as_ids
from elman.data.vocab import Vocab
from elman.errors import ConfigError
from elman.models.ngram.counts import Counts, Int64Array, segment_sums
from elman.models.ngram.smoothing import laplace

FIRST, LAST = 10, 1000  # ranks of the fit; before them the curve is bent
FEWEST = 10  # ranks of a fit, at least


@dataclass(frozen=True)
class PowerLaw:
    """A power law n_i = scale / i^alpha, fitted by least squares to log n_i over log i."""

    alpha: float
    """The exponent: 1 is Zipf's law."""
    scale: float
    """exp(c): the count that the law gives the first rank."""
    first: int
    """The first rank of the fit."""
    last: int
    """The last rank of the fit."""


@dataclass(frozen=True)
class SingletonStats:
    """How often n-grams that occur once in the first half of a text occur in the second (`singleton_stats`)."""

    number: int
    """How many n-grams occur once in the first half."""
    observed: float
    """The mean of their counts in the second half."""
    laplace: float
    """The mean that additive smoothing (eps 1) of the first half predicts."""


@dataclass(frozen=True, eq=False)
class Frequencies:
    """The frequencies of the n-grams of one length."""

    n: int
    """The length."""
    total: int
    """How many n-grams the text has."""
    types: int
    """How many distinct ones."""
    singletons: int
    """How many of those occur once."""
    possible: int
    """How many distinct ones the tokens that occur could form."""
    top: tuple[tuple[tuple[str, ...], int], ...]
    """The most frequent n-grams as tokens, and their counts; ties in the order of the vocabulary."""
    times: Int64Array
    """Counts in descending order, (types,)."""
    power_law: PowerLaw | None
    """None where there are fewer than 19 types, too few to fit it."""
    singleton_stats: SingletonStats | None
    """None where no n-gram occurs once in the first half, or a half is shorter than an n-gram."""


@checked
def ngram_frequencies(ids: IdsLike, vocab: Vocab, *, order: int = 3, top: int = 10) -> tuple[Frequencies, ...]:
    """Count the n-grams of a text and describe how their frequencies fall.

    Args:
        ids: the text, (N,) token ids.
        vocab: its vocabulary.
        order: the length of the longest n-grams, 1 or more.
        top: how many of the most frequent n-grams to list.

    Returns:
        The frequencies of each length from 1 to `order`.

    Raises:
        ConfigError: an order under 1, or one that needs more memory than this machine has.
        DataError: a text shorter than `order`.

    Example:
        >>> vocab = Vocab.words("the time machine and the time traveller")
        >>> words, pairs = ngram_frequencies(vocab.encode("the time machine and the time traveller"), vocab, order=2)
        >>> pairs.top[:2], pairs.types, pairs.possible
        (((('the', 'time'), 2), (('time', 'machine'), 1)), 5, 25)
    """
    ids = as_ids(ids, len(vocab))
    if top < 0:
        raise ConfigError(f"top is {top}: it must be 0 or more")
    counts = Counts.of(ids, len(vocab), order, bos=False)
    singletons = _singletons_of_halves(ids, len(vocab), order)
    types = int((counts.times[0] > 0).sum())
    return tuple(_frequencies(counts, n, types**n, vocab, top, singletons[n - 1]) for n in range(1, order + 1))


def _frequencies(
    counts: Counts, n: int, possible: int, vocab: Vocab, top: int, singletons: SingletonStats | None
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
        power_law=fit_power_law(falling),
        singleton_stats=singletons,
    )


def fit_power_law(times: Int64Array) -> PowerLaw | None:
    """Fit a power law to counts in descending order, over the ranks 10 to 1000 that there are; None for under ten.

    alpha = - cov(log i, log n_i) / var(log i)        c = mean(log n_i) + alpha mean(log i)
    """
    last = min(LAST, len(times))
    if last - FIRST + 1 < FEWEST:
        return None
    x, y = np.log(np.arange(FIRST, last + 1)), np.log(times[FIRST - 1 : last])
    alpha = -float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return PowerLaw(alpha + 0.0, math.exp(float(y.mean()) + alpha * float(x.mean())), FIRST, last)


def _singletons_of_halves(ids: Ids, size: int, order: int) -> list[SingletonStats | None]:
    """The statistics of each length; None where a half is too short."""
    cut = len(ids) // 2
    most = min(order, cut)
    if not most:
        return [None] * order
    first, second = (Counts.of(half, size, most, bos=False) for half in (ids[:cut], ids[cut:]))
    return [singleton_stats(first, second, n) for n in range(1, most + 1)] + [None] * (order - most)


def singleton_stats(first: Counts, second: Counts, n: int) -> SingletonStats | None:
    """How often n-grams that occur once in one text occur in another, and what additive smoothing predicts.

        observed = mean of n'(c w)              over all c w with n(c w) = 1; n of the one text, n' of the other
        laplace  = mean of n'(c) P(w | c)       P(w | c) = (n(c w) + eps P(w)) / (n(c) + eps)      eps = 1

    P is that of `laplace` (Smola and Li 2019): P(w) = (n(w) + eps/m) / (n + eps), with m the size of the vocabulary.
    n(c) counts the c that are continued; for single tokens it is the length of the text.

    Args:
        first: n-grams of the one text, up to n tokens or more.
        second: those of the other, with the same vocabulary.
        n: the length of the n-grams.

    Returns:
        The means; None where no n-gram occurs once.
    """
    once = np.flatnonzero(first.times[n - 1] == 1)
    if not len(once):
        return None
    grams, size = first.grams(n, once), first.size
    context = np.zeros(len(once), np.int64)
    for place in range(n - 1):
        context = second.find(place + 1, context, grams[:, place])
    at = second.find(n, context, grams[:, -1])
    continued = segment_sums(second.times[n - 1], second.first_children[n - 1])
    observed = np.where(at >= 0, second.times[n - 1][at], 0)
    occurs = np.where(context >= 0, continued[context], 0)
    unigram, *_ = levels = laplace(first, 1.0).levels
    shorter = (unigram.discounted_prob + unigram.backoff_weight[0] / size)[grams[:, -1]] if n > 1 else 1 / size
    p = levels[n - 1].discounted_prob[once] + levels[n - 1].backoff_weight[first.keys[n - 1][once] // size] * shorter
    return SingletonStats(len(once), float(observed.mean()), float((occurs * p).mean()))
