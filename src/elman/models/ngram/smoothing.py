"""From counts to probabilities: each smoothing gives an n-gram a share and hands the rest to a shorter context.

    P_n(w | c) = share(c w) + rest(c) * P_shorter(w | c without its first token)      P_0(w) = 1 / V
    P_n(w | c) = P_shorter(w | ...)                                                     where c was never continued

What differs is share and rest. With both written so, one function computes every smoothing's probabilities.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elman.errors import ConfigError
from elman.models.ngram.counts import Counts, Int64Array, sums

Float64Array = npt.NDArray[np.float64]
FEW = 4  # contexts up to which they are completed one by one: a single one takes half of the time so
FALLBACK = (0.5, 1.0, 1.5)  # discounts where counts of counts cannot tell them, as KenLM's --discount_fallback


@dataclass(frozen=True, eq=False)
class Level:
    """The n-grams of one length."""

    share: Float64Array
    """Of each n-gram, (number of n-grams,)."""
    rest: Float64Array
    """Of each context of n-1 tokens, (number of contexts,); 1 where it was never continued."""


@dataclass(frozen=True, eq=False)
class Smoothed:
    """The levels of 1 to order tokens."""

    levels: tuple[Level, ...]
    to_unigram: bool = False
    """The rest of every level goes to the unigram, not to the next shorter context."""


def laplace(counts: Counts, eps: float) -> Smoothed:
    """Additive smoothing of the lecture, literally (S21): all longer contexts back off to the unigram.

    P(x)        = (n(x) + eps/m) / (n + eps)                      m types
    P(x'' | c)  = (n(c, x'') + eps P(x'')) / (n(c) + eps)         c = x', or x, x', ...

    eps 0 is the maximum likelihood estimate, eps -> infinity a uniform guess. Where eps is 0 and a context was
    never continued, 0/0, the unigram stands in.
    """
    return Smoothed(_additive(counts, eps), to_unigram=True)


def recursive(counts: Counts, eps: float) -> Smoothed:
    """The same, where every context backs off to the next shorter one.

    P(w | x, c) = (n(x, c, w) + eps P(w | c)) / (n(x, c) + eps)
    """
    return Smoothed(_additive(counts, eps))


def _additive(counts: Counts, eps: float) -> tuple[Level, ...]:
    if not (eps >= 0 and np.isfinite(eps)):
        raise ConfigError(f"eps {eps}: give a finite number, 0 or more")
    levels = []
    for times, edges in zip(counts.times, counts.first_children, strict=True):
        total = sums(times, edges)
        seen = total > 0
        whole = np.where(seen, total + eps, 1.0)
        levels.append(Level(times / np.repeat(whole, np.diff(edges)), np.where(seen, eps / whole, 1.0)))
    return tuple(levels)


def witten_bell(counts: Counts) -> Smoothed:
    """The rest of a context is the share of its different continuations, t (Witten and Bell 1991).

    share = n(c w) / (n(c) + t(c))        rest = t(c) / (n(c) + t(c))
    """
    levels = []
    for times, edges in zip(counts.times, counts.first_children, strict=True):
        kinds = sums((times > 0).astype(np.int64), edges)
        whole = np.where(kinds > 0, sums(times, edges) + kinds, 1.0)
        levels.append(Level(times / np.repeat(whole, np.diff(edges)), np.where(kinds > 0, kinds / whole, 1.0)))
    return Smoothed(tuple(levels))


def kneser_ney(counts: Counts) -> tuple[Level, ...]:
    """Interpolated modified Kneser-Ney (Chen and Goodman 1999).

    share = (a(c w) - D(a(c w))) / a(c)     rest = sum over w of D(a(c w)) / a(c)     a(c) = sum over w of a(c w)

    a is the count for the longest n-grams, and for shorter ones the number of different tokens that stand before
    them. D takes one of three values, for a = 1, a = 2 and a >= 3.
    """
    levels = []
    for n, edges in enumerate(counts.first_children, 1):
        adjusted = counts.times[n - 1] if n == counts.order else _predecessors(counts, n)
        levels.append(discounted(adjusted, edges))
    return tuple(levels)


def discounted(times: Int64Array, edges: Int64Array) -> Level:
    """The share of each continuation that occurs so often, less a discount, and the rest, all that was taken.

    The continuations of context i stand between edges[i] and edges[i + 1].
    """
    taken = np.array((0.0, *_discounts(times)))[np.minimum(times, 3)]
    whole = sums(times, edges)
    seen = whole > 0
    whole = np.where(seen, whole, 1.0)
    return Level((times - taken) / np.repeat(whole, np.diff(edges)), np.where(seen, sums(taken, edges) / whole, 1.0))


def interpolate_(
    p: npt.NDArray[np.floating], contexts: Int64Array, edges: Int64Array, tokens: npt.NDArray[np.integer], level: Level
) -> npt.NDArray[np.float64]:
    """Turn what a shorter context says, `p` (N, V), into what `contexts` (N,) say, in place; the rest of each, (N,).

    A context below 0 was never continued: it says what the shorter one says, and its rest is 1.
    """
    rest = np.ones(len(p))
    if len(p) <= FEW:
        for row, context in enumerate(contexts.tolist()):
            if context >= 0:
                rest[row] = level.rest[context]
                p[row] *= p.dtype.type(rest[row])
                own = slice(edges[context], edges[context + 1])
                p[row, tokens[own]] += level.share[own].astype(p.dtype)
        return rest
    rows = np.flatnonzero(contexts >= 0)
    at = contexts[rows]
    rest[rows] = level.rest[at]
    p[rows] *= level.rest[at, None].astype(p.dtype)
    lengths = edges[at + 1] - edges[at]
    entries = np.repeat(edges[at] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    p[np.repeat(rows, lengths), tokens[entries]] += level.share[entries].astype(p.dtype)
    return rest


def _predecessors(counts: Counts, n: int) -> Int64Array:
    """How many different tokens stand before each n-gram; the beginning of the text counts as one of them."""
    before = np.bincount(counts.suffixes[n], minlength=len(counts.keys[n - 1]))
    # Nothing stands before the n-gram with which the text begins, and if it occurs nowhere else this finds 0.
    return np.where((before == 0) & (counts.times[n - 1] > 0), 1, before)


def _discounts(times: Int64Array) -> tuple[float, float, float]:
    """D_i = i - (i + 1) Y n_{i+1} / n_i with Y = n_1 / (n_1 + 2 n_2), n_i n-grams that occur i times.

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
    "laplace-recursive": recursive,
    "witten-bell": lambda counts, _: witten_bell(counts),
}
"""Every smoothing by its name; the number is eps, where it has one."""
