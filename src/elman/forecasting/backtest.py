"""How good forecasts are: errors 1 to K steps ahead from every origin, intervals with their coverage, divergence.

e_{t,k} = x_{t+k} - x^_{t+k|t}        from every origin t whose value was observed, to every target that was
"""

from dataclasses import dataclass

import numpy as np

from elman.forecasting.fit import Fitted
from elman.forecasting.series import Series, Values
from elman.forecasting.timeline import Positions

MOST_ORIGINS = 20_000  # more are thinned out evenly


@dataclass(frozen=True, eq=False)
class Backtest:
    """Forecasts from rolling origins, each made from the values up to it by a model that was fitted before all."""

    origins: Positions
    """(N,): the last value that each forecast saw."""
    predicted: Values
    """(N, K)"""
    errors: Values
    """(N, K): observed less predicted, NaN where nothing was observed, infinite where nothing finite was predicted."""

    @property
    def mse(self) -> Values:
        """Mean squared error by horizon, (K,); infinite where a prediction is not finite, NaN without a target."""
        return _mean(self.errors**2)

    @property
    def mae(self) -> Values:
        """Mean absolute error by horizon, (K,)."""
        return _mean(np.abs(self.errors))

    def intervals(self, level: float) -> Values:
        """Half the width of a conformal interval by horizon, (K,) (Vovk et al. 2005, split conformal).

        With n absolute errors at a horizon it is the ceil((n + 1) level)-th smallest; infinite where n is too few for
        the level. For exchangeable errors an interval then holds the truth with at least that probability; errors of
        a series are not quite exchangeable, which is why coverage is measured.
        """
        return np.array([_quantile(np.abs(column[~np.isnan(column)]), level) for column in self.errors.T])

    def coverage(self, widths: Values) -> Values:
        """The share of targets that lie within so much of their predictions, by horizon, (K,)."""
        inside = np.where(np.isnan(self.errors), np.nan, np.abs(self.errors) <= widths)
        return _mean(inside)


def backtest(fitted: Fitted, series: Series, first: int, end: int, horizon: int) -> Backtest:
    """Forecasts of 1 to `horizon` steps of the values first to end - 1, from every origin from first - 1 on.

    Args:
        fitted: a forecaster fitted to values before `first` alone.
        series: the values.
        first: the index of the first value to be predicted, at least 1.
        end: one more than the index of the last.
        horizon: K.
    """
    origins = first - 1 + np.flatnonzero(series.known[first - 1 : end - 1])
    if len(origins) > MOST_ORIGINS:
        origins = origins[np.linspace(0, len(origins) - 1, MOST_ORIGINS).astype(np.int64)]
    predicted = fitted.ahead(series.values, origins, horizon)
    at = origins[:, None] + np.arange(1, horizon + 1)
    observed = np.where(series.known, series.values, np.nan)
    truth = np.where(at < end, observed[np.minimum(at, end - 1)], np.nan)
    errors = np.where(np.isfinite(predicted), truth - predicted, np.inf)
    return Backtest(origins, predicted, np.where(np.isnan(truth), np.nan, errors))


def naive_error(values: Values, known: np.ndarray, season: int) -> float:
    """What MASE divides by (Hyndman and Koehler 2006): mean |x_t - x_{t-season}| of the training part."""
    both = known[season:] & known[:-season]
    return float(np.abs(values[season:] - values[:-season])[both].mean()) if both.any() else float("nan")


def divergence(path: Values, values: Values) -> int | None:
    """The step, from 1, at which a free run leaves the range of the data by more than that range; None if never."""
    low, high = values.min(), values.max()
    outside = ~((path >= low - (high - low)) & (path <= high + (high - low)))
    return int(outside.argmax()) + 1 if outside.any() else None


def _mean(values: Values) -> Values:
    """The mean of each column over what is there, NaN where nothing is."""
    there = ~np.isnan(values)
    with np.errstate(over="ignore"):
        total, number = np.where(there, values, 0.0).sum(0), there.sum(0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _quantile(sizes: Values, level: float) -> float:
    rank = int(np.ceil((len(sizes) + 1) * level - 1e-9))
    return float(np.sort(sizes)[rank - 1]) if rank <= len(sizes) else float("inf")
