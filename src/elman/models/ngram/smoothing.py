"""Smoothing: from counts of n-grams to probabilities, by interpolation with shorter contexts.

    P_n(w | c) = discounted_prob(c w) + backoff_weight(c) P_shorter(w | c without its first token)    P_0(w) = 1 / V
    P_n(w | c) = P_shorter(w | ...)                                              where c was never continued

A smoothing is its discounted probabilities and backoff weights (KenLM's names); with both as arrays, one function
interpolates for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elman.errors import ConfigError
from elman.models.ngram.counts import Counts, Int64Array, segment_sums

Float64Array = npt.NDArray[np.float64]
FEW = 4  # contexts up to which they are interpolated one by one, which takes half of the time for a single one
FALLBACK = (0.5, 1.0, 1.5)  # discounts where counts of counts give none, as KenLM's --discount_fallback


@dataclass(frozen=True, eq=False)
class BackoffLevel:
    """The smoothed n-grams of one length."""

    discounted_prob: Float64Array
    """Of each n-gram, (number of n-grams,)."""
    backoff_weight: Float64Array
    """Of each context of n-1 tokens, (number of contexts,), 0 to 1; 1 where it was never continued."""


@dataclass(frozen=True, eq=False)
class Smoothed:
    """The smoothed n-grams of 1 to order tokens."""

    levels: tuple[BackoffLevel, ...]
    to_unigram: bool = False
    """Every level backs off to the unigram, not to the next shorter context."""


def laplace(counts: Counts, eps: float) -> Smoothed:
    """Additive smoothing where all longer contexts back off to the unigram (Smola and Li 2019).

    P(x)        = (n(x) + eps/m) / (n + eps)                      m types
    P(x'' | c)  = (n(c, x'') + eps P(x'')) / (n(c) + eps)         c = x', or x, x', ...

    eps 0 is the maximum likelihood estimate, eps -> infinity a uniform guess. Where eps is 0 and a context was
    never continued, 0/0, the unigram is taken.

    Args:
        counts: the n-grams.
        eps: the strength of the smoothing, 0 or more.

    Returns:
        The smoothed n-grams.

    Raises:
        ConfigError: eps is negative or not finite.
    """
    return Smoothed(_additive(counts, eps), to_unigram=True)


def laplace_recursive(counts: Counts, eps: float) -> Smoothed:
    """Additive smoothing where every context backs off to the next shorter one (MacKay and Peto 1995).

    P(w | x, c) = (n(x, c, w) + eps P(w | c)) / (n(x, c) + eps)

    Args:
        counts: the n-grams.
        eps: the strength of the smoothing, 0 or more.

    Returns:
        The smoothed n-grams.

    Raises:
        ConfigError: eps is negative or not finite.
    """
    return Smoothed(_additive(counts, eps))


def _additive(counts: Counts, eps: float) -> tuple[BackoffLevel, ...]:
    if not (eps >= 0 and np.isfinite(eps)):
        raise ConfigError(f"eps {eps}: give a finite number, 0 or more")
    levels = []
    for times, edges in zip(counts.times, counts.first_children, strict=True):
        total = segment_sums(times, edges)
        seen = total > 0
        whole = np.where(seen, total + eps, 1.0)
        levels.append(BackoffLevel(times / np.repeat(whole, np.diff(edges)), np.where(seen, eps / whole, 1.0)))
    return tuple(levels)


def witten_bell(counts: Counts) -> Smoothed:
    """Witten-Bell smoothing: t(c) is the number of distinct continuations of c (Witten and Bell 1991).

    discounted_prob = n(c w) / (n(c) + t(c))        backoff_weight = t(c) / (n(c) + t(c))
    """
    levels = []
    for times, edges in zip(counts.times, counts.first_children, strict=True):
        distinct = segment_sums((times > 0).astype(np.int64), edges)
        whole = np.where(distinct > 0, segment_sums(times, edges) + distinct, 1.0)
        levels.append(
            BackoffLevel(times / np.repeat(whole, np.diff(edges)), np.where(distinct > 0, distinct / whole, 1.0))
        )
    return Smoothed(tuple(levels))


def kneser_ney(counts: Counts) -> tuple[BackoffLevel, ...]:
    """Interpolated modified Kneser-Ney (Chen and Goodman 1999).

    discounted_prob = (a(c w) - D(a(c w))) / a(c)
    backoff_weight  = sum over w of D(a(c w)) / a(c)          a(c) = sum over w of a(c w)

    a is the count for the longest n-grams, and for shorter ones the number of distinct tokens that precede them (the
    continuation count). D takes one of three values, for a = 1, a = 2 and a >= 3.
    """
    levels = []
    for n, edges in enumerate(counts.first_children, 1):
        adjusted = counts.times[n - 1] if n == counts.order else _predecessors(counts, n)
        levels.append(absolute_discounting(adjusted, edges))
    return tuple(levels)


def absolute_discounting(times: Int64Array, edges: Int64Array) -> BackoffLevel:
    """Discount counts by one of three values, and give each context the mass that was taken as its backoff weight.

    Args:
        times: how often each continuation occurs, (N,).
        edges: the continuations of context i are those from edges[i] to edges[i + 1] - 1.

    Returns:
        Discounted probabilities, (N,), and backoff weights, (len(edges) - 1,).
    """
    taken = np.array((0.0, *_discounts(times)))[np.minimum(times, 3)]
    whole = segment_sums(times, edges)
    seen = whole > 0
    whole = np.where(seen, whole, 1.0)
    return BackoffLevel(
        (times - taken) / np.repeat(whole, np.diff(edges)), np.where(seen, segment_sums(taken, edges) / whole, 1.0)
    )


def interpolate_(
    p: npt.NDArray[np.floating],
    contexts: Int64Array,
    edges: Int64Array,
    tokens: npt.NDArray[np.integer],
    level: BackoffLevel,
) -> npt.NDArray[np.float64]:
    """Interpolate the probabilities of shorter contexts with those of longer ones, in place.

    Args:
        p: P(w | shorter context) of every token, (N, V); becomes P(w | context).
        contexts: ranks of the longer contexts, (N,); one below 0 was never continued and leaves its row as it is.
        edges: the continuations of context i are those from edges[i] to edges[i + 1] - 1.
        tokens: the last token of every continuation.
        level: their discounted probabilities, and the backoff weights of the contexts.

    Returns:
        The backoff weight of each row, (N,); 1 for a context below 0.
    """
    weights = np.ones(len(p))
    if len(p) <= FEW:
        for row, context in enumerate(contexts.tolist()):
            if context >= 0:
                weights[row] = level.backoff_weight[context]
                p[row] *= p.dtype.type(weights[row])
                own = slice(edges[context], edges[context + 1])
                p[row, tokens[own]] += level.discounted_prob[own].astype(p.dtype)
        return weights
    rows = np.flatnonzero(contexts >= 0)
    at = contexts[rows]
    weights[rows] = level.backoff_weight[at]
    p[rows] *= level.backoff_weight[at, None].astype(p.dtype)
    lengths = edges[at + 1] - edges[at]
    entries = np.repeat(edges[at] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    p[np.repeat(rows, lengths), tokens[entries]] += level.discounted_prob[entries].astype(p.dtype)
    return weights


def _predecessors(counts: Counts, n: int) -> Int64Array:
    """The number of distinct tokens before each n-gram, where the beginning of the text counts as one."""
    before = np.bincount(counts.suffixes[n], minlength=len(counts.keys[n - 1]))
    # No token precedes the n-gram at the beginning of the text; if it occurs nowhere else, `before` is 0 there.
    return np.where((before == 0) & (counts.times[n - 1] > 0), 1, before)


def _discounts(times: Int64Array) -> tuple[float, float, float]:
    """D_i = i - (i + 1) Y n_{i+1} / n_i with Y = n_1 / (n_1 + 2 n_2), where n_i n-grams occur i times.

    Small texts and alphabets have no n-grams that occur once, twice or thrice; then D is 0.5, 1, 1.5.
    """
    n = np.bincount(np.minimum(times, 5), minlength=6)[1:5].astype(float)
    if not n.all():
        return FALLBACK
    y = n[0] / (n[0] + 2 * n[1])
    d = tuple(float(i - (i + 1) * y * n[i] / n[i - 1]) for i in (1, 2, 3))
    return (d[0], d[1], d[2]) if min(d) >= 0 else FALLBACK


SMOOTHINGS: dict[str, Callable[[Counts, float], Smoothed]] = {
    "kneser-ney": lambda counts, _: Smoothed(kneser_ney(counts)),
    "laplace": laplace,
    "laplace-recursive": laplace_recursive,
    "witten-bell": lambda counts, _: witten_bell(counts),
}
"""Every smoothing by name: a function of the counts and of eps, which two of them use."""
