"""Whether a model is better than others by more than chance: paired over blocks of the data, and over seeds.

    D_b     = mean over seeds of cost(other) - the same of cost(reference)          of block b of Q, D = sum_b D_b
    text    = Q var_b(D_b) (1 + 2 max(0, r))                        Q - 1 degrees of freedom; r: of neighbouring blocks
    seeds   = var(other) / S + var(reference) / S                   f degrees of freedom; counts: 0
    p       = the alpha at which  D^2 = t(alpha / pairs; Q - 1)^2 text + q(alpha; k, f)^2 / 2 seeds

The rule is a t-test with two sources of chance. Blocks are long contiguous stretches of the same data for all models,
so their sums are nearly independent although tokens are not, and the autocorrelation r of neighbours that is left is
added; the test holds for blocks of unequal variance and heavy tails (Ibragimov and Müller 2010). Seeds have the degrees
of freedom of Welch 1947, so networks need not vary alike. The two variances are joined each with a quantile of its own,
which keeps the level for any ratio of them (Banerjee 1961).

The reference is the best of k models that were compared, so quantiles are those of any of their k (k - 1) / 2 pairs:
q of the studentised range (Tukey 1949, Kramer 1956; for k = 2, q = sqrt(2) |t|), and t by Bonferroni. The other of
least p is told apart where p < 0.05, k falls by one, and the rest are tested again (as in Hansen et al. 2011). So among
equal models something is said in at most 5 % of comparisons.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

Values = npt.NDArray[np.float64]

LEVEL: Final = 0.05
"""The share of comparisons of equal models in which a difference may be called more than chance."""
ROUNDING: Final = 1e-9
"""The relative difference of two costs that is only the order in which they were added up."""
ALPHAS: Final = np.geomspace(1e-8, 1, 400)
"""Probabilities at which quantiles are tabulated, (400,); no p-value is smaller than the first."""
MANY: Final = 200
"""Degrees of freedom from which a quantile is that of infinitely many."""


class BlockCosts(NamedTuple):
    """What a model costs on each block of the data.

    Args:
        label: the model.
        costs: (S, Q) sums over blocks, a row a seed; lower is better. Infinite where training diverged.
        has_seeds: whether another seed would give other costs.
    """

    label: str
    costs: Values
    has_seeds: bool

    @property
    def mean(self) -> Values:
        """The mean over seeds of each block, (Q,)."""
        return np.asarray(self.costs.mean(0))

    @property
    def seeds_measured(self) -> bool:
        """Whether the variance over seeds is known: it is zero, or there are two seeds."""
        return not self.has_seeds or len(self.costs) > 1

    @property
    def seed_variance(self) -> float:
        """The variance of the mean total over seeds; 0 where it is not known."""
        return float(self.costs.sum(1).var(ddof=1)) / len(self.costs) if len(self.costs) > 1 and self.has_seeds else 0.0


class Difference(NamedTuple):
    """How much more a model costs than the reference, and whether that is more than chance.

    Args:
        label: the model.
        difference: its total cost minus that of the reference, means over seeds.
        low: the lower end of the interval of 95 % about the difference.
        high: the upper end.
        p_value: adjusted for the number of models, from 1e-8 to 1.
        seeds_measured: whether both models have two seeds or need none; if not, the text is the only chance in it.
    """

    label: str
    difference: float
    low: float
    high: float
    p_value: float
    seeds_measured: bool

    @property
    def is_significant(self) -> bool:
        """Whether p is under 0.05."""
        return self.p_value < LEVEL


def differences(reference: BlockCosts, others: Sequence[BlockCosts]) -> list[Difference]:
    """Each other model against the reference, by the rule of this module.

    Args:
        reference: the best of all models, or any one of them.
        others: all other models of the comparison; costs of the same Q >= 2 blocks.

    Returns:
        A difference for each of the others, in their order.
    """
    left, found, least = list(range(len(others))), dict[int, Difference](), 0.0
    while left:
        tested = {i: _difference(reference, others[i], len(left) + 1) for i in left}
        first = min(left, key=lambda i: tested[i].p_value)
        least = max(least, tested[first].p_value)
        if least >= LEVEL:
            found |= tested
            break
        found[first] = tested[first]._replace(p_value=least)
        left.remove(first)
    return [found[i] for i in range(len(others))]


def against_total(total: float, others: Sequence[BlockCosts]) -> list[Difference]:
    """Models against a rival of which the cost of the whole is known, and not that of each block, as of a compressor.

    Its blocks are taken to vary as much as those of the model, and independently: what is hard for one is mostly hard
    for the other, so the test is cautious.

    Args:
        total: what the rival costs.
        others: as for `differences`.

    Returns:
        How much more each model costs than the rival.
    """
    doubled = [
        each._replace(costs=each.costs + (math.sqrt(2) - 1) * (each.mean - each.mean.mean()))
        if np.isfinite(each.costs).all()
        else each
        for each in others
    ]
    blocks = others[0].costs.shape[1]
    return differences(BlockCosts("", np.full((1, blocks), total / blocks), has_seeds=False), doubled)


def _difference(reference: BlockCosts, other: BlockCosts, models: int) -> Difference:
    with np.errstate(invalid="ignore"):
        each = other.mean - reference.mean
        each[np.abs(each) <= ROUNDING * np.abs(reference.mean)] = 0.0
    total, measured = float(each.sum()), reference.seeds_measured and other.seeds_measured
    if not np.isfinite(each).all():  # a seed diverged, so the variance over seeds is infinite
        return Difference(other.label, total, -math.inf, math.inf, 1.0, measured)
    text = _text(each)
    seeds, freedom = _seeds(reference, other)
    if seeds + text == 0:  # without any chance the figures are what they are
        return Difference(other.label, total, total, total, 1.0 if total == 0 else float(ALPHAS[0]), measured)
    of_one = np.interp(ALPHAS / math.comb(models, 2), ALPHAS, quantiles(2, len(each) - 1))
    squares = (of_one**2 * text + quantiles(models, freedom) ** 2 * seeds) / 2
    p_value = float(np.interp(-(total**2), -squares, ALPHAS))
    half = math.sqrt(float(np.interp(LEVEL, ALPHAS, squares)))
    return Difference(other.label, total, total - half, total + half, p_value, measured)


def _text(each: Values) -> float:
    """The variance of the sum of block differences, (Q,)."""
    deviations = each - each.mean()
    squares = float(deviations @ deviations)
    if squares == 0:
        return 0.0
    neighbours = float(deviations[1:] @ deviations[:-1]) / squares
    return len(each) / (len(each) - 1) * squares * (1 + 2 * max(0.0, neighbours))


def _seeds(reference: BlockCosts, other: BlockCosts) -> tuple[float, float]:
    """The variance of the difference over seeds, and its degrees of freedom (Welch 1947)."""
    parts = [(each.seed_variance, len(each.costs) - 1) for each in (reference, other)]
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return 0.0, math.inf
    return total, total**2 / sum(variance**2 / freedom for variance, freedom in parts if variance)


def quantiles(models: int, freedom: float) -> Values:
    """Upper quantiles of the studentised range (Tukey 1949) at `ALPHAS`, (400,); of two models sqrt(2) |t|.

    Args:
        models: how many means the range is over, at least 2.
        freedom: degrees of freedom of the variance, at least 1; under 200 they are rounded down to a quarter.

    Example:
        >>> round(float(np.interp(0.05, ALPHAS, quantiles(3, 10))), 2)  # tables: 3.88
        3.88
    """
    return _quantiles(models, MANY if freedom >= MANY else max(1.0, math.floor(4 * freedom) / 4))


@lru_cache(maxsize=4096)
def _quantiles(models: int, freedom: float) -> Values:
    q = np.geomspace(1e-3, 1e9, 700)
    width, below = _normal_range(models)
    if freedom == MANY:
        tail = 1 - np.interp(q, width, below)
    else:
        # The mean over s = sqrt(chi^2 / f), on an even grid of log s
        log_s = np.linspace(-24, 3, 400)
        log_density = freedom * log_s - freedom * np.exp(2 * log_s) / 2
        density = np.exp(log_density - log_density.max())
        tail = (1 - np.interp(q[:, None] * np.exp(log_s), width, below)) @ (density / density.sum())
    tail = np.maximum.accumulate(np.maximum(tail, 1e-300)[::-1])  # from the largest q on
    return np.asarray(np.exp(np.interp(np.log(ALPHAS), np.log(tail), np.log(q[::-1]))))


@lru_cache(maxsize=64)
def _normal_range(models: int) -> tuple[Values, Values]:
    """Widths, and the probability that the range of so many standard normals is smaller."""
    width, z = np.linspace(0, 14, 1401), torch.linspace(-9, 9, 721, dtype=torch.float64)
    inside = torch.special.ndtr(z) - torch.special.ndtr(z - torch.from_numpy(width)[:, None])
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    below = models * (inside ** (models - 1)) @ density
    return width, below.numpy().clip(0, 1)
