"""Errors of forecasts 1 to K steps ahead from every origin, prediction intervals with their coverage, and divergence.

e_{t,k} = x_{t+k} - x^_{t+k|t}        from every origin t whose value was observed, to every target that was
"""

from dataclasses import dataclass

import numpy as np

from elman.forecasting.fit import FittedForecaster
from elman.forecasting.series import Series, Values
from elman.forecasting.timeline import Positions
from elman.inference.blocks import even_edges

MAX_ORIGINS = 20_000  # of more origins, so many are taken at even distances
ROUNDINGS = 256  # roundings of the largest value: sums of a window, or sines of a number of steps, are no more exact


@dataclass(frozen=True, eq=False)
class Backtest:
    """Forecasts from rolling origins by a model that was fitted to the values before all of them."""

    origins: Positions
    """Index of the last value that each forecast is made from, (N,)."""
    predicted: Values
    """Predictions 1 to K steps ahead, (N, K)."""
    errors: Values
    """Observed minus predicted, (N, K): NaN where nothing was observed, infinite where the prediction is not finite, 0
    where the difference is no larger than the rounding of the values."""

    @property
    def mse(self) -> Values:
        """Mean squared error by horizon, (K,); infinite where a prediction is not finite, NaN without a target."""
        return _mean(self.errors**2)

    @property
    def mae(self) -> Values:
        """Mean absolute error by horizon, (K,)."""
        return _mean(np.abs(self.errors))

    def block_costs(self, count: int) -> Values:
        """What each block of consecutive origins adds to the mean squared error over all horizons.

        Args:
            count: how many blocks, at most N.

        Returns:
            Parts of the mean of `mse` over the horizons that have a target, (count,).
        """
        there = ~np.isnan(self.errors)
        number = there.sum(0)
        with np.errstate(over="ignore"):
            squares = np.where(there, self.errors**2, 0.0) / np.maximum(number, 1)
        each = squares.sum(1) / max(1, int((number > 0).sum()))
        return np.array([part.sum() for part in np.split(each, even_edges(len(each), count)[1:-1])[:count]])

    def half_widths(self, level: float) -> Values:
        """Half the width of a split conformal prediction interval by horizon (Vovk et al. 2005).

        With n absolute errors at a horizon it is the ceil((n + 1) level)-th smallest; infinite where n is too small for
        the level. For exchangeable errors an interval then contains the target with at least that probability; errors
        of a series are not quite exchangeable, which is why coverage is measured.

        Args:
            level: the probability that the interval is to have, between 0 and 1.

        Returns:
            Half widths, (K,), in the unit of the data.
        """
        return np.array([_quantile(np.abs(column[~np.isnan(column)]), level) for column in self.errors.T])

    def coverage(self, half_widths: Values) -> Values:
        """The share of targets within given distances of their predictions.

        Args:
            half_widths: the distances by horizon, (K,), in the unit of the data.

        Returns:
            Shares by horizon, (K,), from 0 to 1; NaN without a target.
        """
        inside = np.where(np.isnan(self.errors), np.nan, np.abs(self.errors) <= half_widths)
        return _mean(inside)


def backtest(fitted: FittedForecaster, series: Series, first: int, end: int, horizon: int) -> Backtest:
    """Forecasts of 1 to `horizon` steps of the values first to end - 1, from every origin from first - 1 on.

    Args:
        fitted: a forecaster fitted to values before `first` alone.
        series: the values.
        first: the index of the first value that is predicted, at least 1.
        end: one more than the index of the last.
        horizon: K, at least 1.

    Returns:
        Forecasts and errors; a value that was not observed is neither an origin nor a target.
    """
    origins = first - 1 + np.flatnonzero(series.observed[first - 1 : end - 1])
    if len(origins) > MAX_ORIGINS:
        origins = origins[np.linspace(0, len(origins) - 1, MAX_ORIGINS).astype(np.int64)]
    predicted = fitted.forecast_from(series.values, origins, horizon)
    at = origins[:, None] + np.arange(1, horizon + 1)
    observed = np.where(series.observed, series.values, np.nan)
    truth = np.where(at < end, observed[np.minimum(at, end - 1)], np.nan)
    errors = np.where(np.isfinite(predicted), differences(truth, predicted, series.values[:end]), np.inf)
    return Backtest(origins, predicted, np.where(np.isnan(truth), np.nan, errors))


def differences(a: Values, b: Values, values: Values) -> Values:
    """A - b, or 0 where that is rounding: otherwise 1e-15 would be "better than" 2e-15, and the unit of MASE.

    Args:
        a: numbers.
        b: numbers of the same shape.
        values: the values of the series, whose largest decides how large rounding is, (T,).

    Returns:
        Differences; those of at most `ROUNDINGS` roundings of the largest value are 0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        found = a - b
    return np.where(np.abs(found) <= ROUNDINGS * np.finfo(np.float64).eps * np.abs(values).max(), 0.0, found)


def mase_scale(values: Values, observed: np.ndarray, season: int) -> float:
    """The mean |x_t - x_{t-season}|, by which MASE divides (Hyndman and Koehler 2006).

    Args:
        values: training values, (T,).
        observed: whether each was observed, (T,); a pair counts if both were.
        season: steps of a cycle, at least 1.

    Returns:
        The scale, in the unit of the data; 0 where every season repeats the one before, NaN without a pair.
    """
    both = observed[season:] & observed[:-season]
    changes = np.abs(differences(values[season:], values[:-season], values))
    return float(changes[both].mean()) if both.any() else float("nan")


def divergence_step(path: Values, values: Values) -> int | None:
    """The step at which a rollout leaves the range of the data by more than that range.

    Args:
        path: predictions, (K,).
        values: the data, (T,).

    Returns:
        The step, counted from 1; None if it never does.
    """
    low, high = values.min(), values.max()
    outside = ~((path >= low - (high - low)) & (path <= high + (high - low)))
    return int(outside.argmax()) + 1 if outside.any() else None


def _mean(values: Values) -> Values:
    """The mean of each column without its NaN; NaN if nothing else is in it."""
    there = ~np.isnan(values)
    with np.errstate(over="ignore"):
        total, number = np.where(there, values, 0.0).sum(0), there.sum(0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _quantile(sizes: Values, level: float) -> float:
    rank = int(np.ceil((len(sizes) + 1) * level - 1e-9))
    return float(np.sort(sizes)[rank - 1]) if rank <= len(sizes) else float("inf")
