"""From a name to a fitted forecaster, and predictions in the unit of the data.

ridge-128 = kind "ridge", window 128           standardised = (value - mean) / std, both of the training values
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from elman.cells import CELLS
from elman.errors import ConfigError, DataError, no_such
from elman.forecasting import learn, linear
from elman.forecasting.base import Forecaster, forecast_from, predict_one_step
from elman.forecasting.linear import Mask, Values

MAX_WINDOW: Final = 100_000  # values


@dataclass(frozen=True)
class TrainingData:
    """What a forecaster is fitted to."""

    values: Values
    """Training values, (T,), standardised if the kind of forecaster says so."""
    observed: Mask
    """Whether each was observed, (T,); others are never targets."""
    horizon: int
    """Steps ahead that it will forecast."""
    season: int | None
    """Steps of a cycle, where there is one."""
    seed: int
    """Of what is random."""


@dataclass(frozen=True)
class ForecasterKind:
    """A kind of forecaster."""

    fit: Callable[[TrainingData, int], Forecaster]
    """Fits one to training data, with a window of that many values."""
    window: int
    """The window if the name has none."""
    depends_on_seed: bool = True
    """Whether another seed gives another forecaster."""
    standardised: bool = True
    """Whether it is fitted to standardised values."""
    takes_window: bool = True
    """Whether its name may end in a window."""


def _seasonal(data: TrainingData, season: int) -> Forecaster:
    season = season or data.season or 0
    if not season:
        raise ConfigError("seasonal needs a season, and the dates have none: give --season, or write seasonal-12")
    if season >= len(data.values):
        raise DataError(
            f"a season of {season:,} is not shorter than the {len(data.values):,} training values: "
            "take a shorter one, or train on more values"
        )
    return linear.seasonal_naive(season)


FORECASTERS: dict[str, ForecasterKind] = {
    "last": ForecasterKind(lambda _task, _tau: linear.last_value(), 1, depends_on_seed=False, takes_window=False),
    "seasonal": ForecasterKind(_seasonal, 0, depends_on_seed=False),
    "mean": ForecasterKind(lambda t, tau: linear.moving_average(tau, len(t.values)), 16, depends_on_seed=False),
    "ar": ForecasterKind(lambda t, tau: linear.autoregression(t.values, t.observed, tau), 4, depends_on_seed=False),
    "ridge": ForecasterKind(
        lambda t, tau: linear.ridge_autoregression(t.values, t.observed, tau, t.horizon), 64, depends_on_seed=False
    ),
    "mlp": ForecasterKind(lambda t, tau: learn.train_mlp(t.values, t.observed, tau, t.seed), 16),
    "mlp-reference": ForecasterKind(
        lambda t, tau: learn.train_reference_mlp(t.values, t.observed, tau, t.seed), 4, standardised=False
    ),
}
"""Every kind of forecaster by the name that a user types."""


def _cell_kinds(cell: str) -> dict[str, ForecasterKind]:
    def one_step(data: TrainingData, window: int) -> Forecaster:
        return learn.train_recurrent(data.values, data.observed, cell, window, data.seed)

    def several_steps(data: TrainingData, window: int) -> Forecaster:
        return learn.train_recurrent(data.values, data.observed, cell, window, data.seed, horizon=max(2, data.horizon))

    return {cell: ForecasterKind(one_step, 64), f"{cell}-ahead": ForecasterKind(several_steps, 64)}


for _cell in sorted(CELLS):
    FORECASTERS |= _cell_kinds(_cell)


def parse_name(name: str) -> tuple[ForecasterKind, int]:
    """The kind of forecaster that a name means, and its window in values.

    Raises:
        ConfigError: there is none of that name.
    """
    match = re.fullmatch(r"(.+?)(?:-(\d{1,6}))?", name)
    kind, window = (match[1], match[2]) if match else (name, None)
    if kind not in FORECASTERS:
        raise ConfigError(no_such("model", name, FORECASTERS) + "; a window may follow, as in ridge-64")
    if window is None:
        return FORECASTERS[kind], FORECASTERS[kind].window
    if not FORECASTERS[kind].takes_window or not 1 <= int(window) <= MAX_WINDOW:
        raise ConfigError(f"there is no model {name!r}: {kind} takes a window of 1 to {MAX_WINDOW:,} values, or none")
    return FORECASTERS[kind], int(window)


def name_with_window(name: str, season: int | None = None) -> str:
    """The name with its window: `ridge` is `ridge-64`.

    Args:
        name: with a window or without.
        season: the window of `seasonal` if its name has none.

    Raises:
        ConfigError: there is no such forecaster.
    """
    kind, window = parse_name(name)
    window = window or season or 0
    return name if re.search(r"-\d+$", name) or not kind.takes_window or not window else f"{name}-{window}"


@dataclass(frozen=True, eq=False)
class FittedForecaster:
    """A fitted forecaster that reads and predicts values in the unit of the data."""

    model: Forecaster
    """Of standardised values."""
    mean: float
    """Of the training values; 0 if the forecaster is not fitted to standardised ones."""
    std: float
    """Their standard deviation; 1 if the forecaster is not fitted to standardised ones."""

    def forecast_from(self, values: Values, origins: npt.NDArray[np.int64], steps: int) -> Values:
        """Forecasts from several origins, each made from values[: origin + 1] alone.

        Args:
            values: the series, (T,).
            origins: indices into `values`, (N,).
            steps: K, at least 1.

        Returns:
            Predictions 1 to K steps after each origin, (N, K).
        """
        predicted: Values = forecast_from(
            self.model, self._standardised(values), torch.from_numpy(origins), steps
        ).numpy()
        return np.asarray(predicted * self.std + self.mean)

    def predict_one_step(self, values: Values) -> Values:
        """The prediction of each value of a series, (T,), from those before it; NaN where these are too few."""
        after: Values = predict_one_step(self.model, self._standardised(values)).numpy()
        return np.concatenate((np.array([np.nan]), after[:-1])) * self.std + self.mean

    def forecast(self, values: Values, steps: int) -> Values:
        """The values that follow a series.

        Args:
            values: the series, (T,).
            steps: K, at least 1.

        Returns:
            Predictions, (K,); each reads those before it as if they were observed.
        """
        (path,) = self.forecast_from(values, np.array([len(values) - 1]), steps)
        return np.asarray(path)

    def _standardised(self, values: Values) -> torch.Tensor:
        return torch.from_numpy((values - self.mean) / self.std)


def fit_forecaster(
    name: str,
    values: Values,
    observed: Mask | None = None,
    *,
    horizon: int = 1,
    season: int | None = None,
    seed: int = 0,
) -> FittedForecaster:
    """Fit the forecaster of that name to training values, and only those.

    Args:
        name: see `FORECASTERS`; a window may follow, as in `ridge-128`.
        values: training values, (T,).
        observed: whether each was observed, (T,); None if all were. Others are read, but never targets.
        horizon: K, steps ahead that it will forecast.
        season: steps of a cycle, for `seasonal`.
        seed: of what is random.

    Raises:
        ConfigError: no such forecaster.
        DataError: too few values for it, or all of one value.
        DivergedError: a number in its training is not finite.

    Example:
        >>> wave = np.sin(np.arange(100.0))
        >>> fit_forecaster("ar-2", wave[:50]).forecast(wave[:50], 2).round(3), wave[50:52].round(3)
        (array([-0.262,  0.67 ]), array([-0.262,  0.67 ]))
    """
    kind, window = parse_name(name)
    observed = np.ones(len(values), np.bool_) if observed is None else observed
    mean, std = (float(values.mean()), float(values.std())) if kind.standardised else (0.0, 1.0)
    if values.min() == values.max():
        raise DataError(f"all of the {len(values):,} training values are {values[0]:g}: there is nothing to predict")
    data = TrainingData((values - mean) / std, observed, horizon, season, seed)
    return FittedForecaster(kind.fit(data, window), mean, std)
