"""Forecast a series: fit models, back-test them, choose one, and predict what comes after the end of the data.

    values    [ earlier | later ][ held out ][ future ]
                train -->                                 1. fitted to the earlier part, tested on the later:
                                                             chooses the model, and calibrates its intervals
                train ---------->                         2. fitted to the training part, tested on what was held out:
                                                             every figure of the report
                train --------------------->              3. the chosen one fitted to everything: the forecast

No model is fitted to, scaled by or chosen on a value that comes after what it predicts there.
"""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import numpy as np

from elman.arguments import checked
from elman.errors import ConfigError, DataError, DivergedError
from elman.forecasting.backtest import Backtest, backtest, differences, divergence_step, mase_scale
from elman.forecasting.fit import MAX_WINDOW, FittedForecaster, fit_forecaster, name_with_window, parse_name
from elman.forecasting.renamed import renamed
from elman.forecasting.series import Series, Values
from elman.inference.blocks import block_count
from elman.inference.findings.base import Finding, sentences
from elman.inference.findings.forecast import ForecasterErrors, of_forecast

AUTO: Final = "auto"
CANDIDATES: Final = ("mean-16", "ar-4", "ar-16", "ridge-16", "ridge-64", "ridge-128", "mlp-16", "gru-64")
"""What `auto` chooses from, with the naive forecasts, where the series is long enough for them."""
EARLIER: Final = 0.7
"""The share of the training part that a model is fitted to for calibration; it is tested on the rest."""
HELD_OUT: Final = 0.2
"""The share of the values that is held out by default."""
NAIVE: Final = ("last", "seasonal")
LEVELS: Final = (0.8, 0.95)
"""Probabilities of the prediction intervals."""


@dataclass(frozen=True, eq=False)
class SeedResult:
    """One model with one seed, fitted and tested."""

    seed: int
    fitted: FittedForecaster
    """Fitted to the training part."""
    calibration: Backtest | None
    """The back-test on the end of the training part; None if that is too short for it."""
    test: Backtest
    """The back-test on the held-out values."""
    rollout: Values
    """The forecast of all held-out values from the end of the training part."""
    rollout_mse: float
    """Mean squared error of the rollout; errors of rounding are 0."""
    diverged_at: int | None
    """The step of the rollout that leaves the range of the data by more than that range; None if none does."""
    seconds: float
    """Time that fitting to the training part took."""

    free = renamed("free", "rollout")
    free_mse = renamed("free_mse", "rollout_mse")
    diverged = renamed("diverged", "diverged_at")

    def coverage(self, level: float) -> Values:
        """The share of held-out targets within their prediction intervals.

        Args:
            level: the probability of the intervals, between 0 and 1.

        Returns:
            Shares by horizon, (K,); NaN without an interval.
        """
        if self.calibration is None:
            return np.full(self.test.errors.shape[1], np.nan)
        widths = self.calibration.half_widths(level)
        return np.where(np.isfinite(widths), self.test.coverage(widths), np.nan)


@dataclass(frozen=True, eq=False)
class ModelResult:
    """One model with all of its seeds."""

    name: str
    """With its window: ridge-128."""
    by_seed: list[SeedResult]
    """One result for each seed."""

    trials = renamed("trials", "by_seed")
    chosen_by = renamed("chosen_by", "calibration_mse")
    by_horizon = renamed("by_horizon", "median_by_horizon")

    def median_by_horizon(self, figure: Callable[[SeedResult], Values]) -> Values:
        """The median over the seeds of a figure by horizon, (K,).

        Args:
            figure: gives the figure of one seed by horizon, (K,).
        """
        return np.median([figure(one) for one in self.by_seed], 0)

    @property
    def mse(self) -> Values:
        """Mean squared error by horizon, (K,), the median over the seeds."""
        return self.median_by_horizon(lambda one: one.test.mse)

    @property
    def calibration_mse(self) -> float:
        """The mean squared error over all horizons on the end of the training part; `auto` takes the least."""
        figures = [_overall(t.calibration.mse) if t.calibration else math.nan for t in self.by_seed]
        return median(figures) if not any(map(math.isnan, figures)) else math.inf


@dataclass(frozen=True, eq=False)
class ForecastResult:
    """The forecast of one series, and how good the models are that were tried."""

    series: Series
    train_size: int
    """How many values are for training."""
    horizon: int
    """K, steps ahead."""
    season: int | None
    """Steps of a cycle, where there is one."""
    models: list[ModelResult]
    """The naive forecasts, then the models in the order of their names in the call."""
    chosen: str
    """The name of the model that makes the forecast."""
    automatic: bool
    """Whether `auto` chose it."""
    forecast: Values
    """The predicted values after the last, (K,)."""
    notes: list[str] = field(default_factory=list)
    """Models that were left out, and why."""

    cut = renamed("cut", "train_size")
    entries = renamed("entries", "models")
    entry = renamed("entry", "model")
    scale = renamed("scale", "mase_scale")
    interval = renamed("interval", "half_width")

    def model(self, name: str) -> ModelResult:
        """The result of the model of that name."""
        return next(one for one in self.models if one.name == name)

    @property
    def best(self) -> ModelResult:
        """The model with the least mean squared error on the held-out values, over all horizons."""
        return min(self.models, key=lambda e: _overall(e.mse))

    @property
    def mase_scale(self) -> float:
        """The scale by which MASE divides, in the unit of the data, see `elman.forecasting.backtest.mase_scale`."""
        return mase_scale(
            self.series.values[: self.train_size], self.series.observed[: self.train_size], self.season or 1
        )

    def half_width(self, level: float) -> Values:
        """Half the width of the forecast's prediction interval, calibrated on the held-out errors of the chosen model.

        Args:
            level: the probability of the interval, between 0 and 1.

        Returns:
            Half widths by step, (K,), in the unit of the data; infinite where there are too few errors.
        """
        return self.model(self.chosen).by_seed[0].test.half_widths(level)


@checked
def forecast(
    series: Series,
    models: Sequence[str] = (AUTO,),
    *,
    horizon: int | None = None,
    held_out: float | None = None,
    season: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda _: None,
    told: Callable[[str], None] | None = None,
) -> ForecastResult:
    """Fit and test forecasters on one series, and forecast what follows it.

    Args:
        series: the values.
        models: names (`elman.forecasting.fit.FORECASTERS`), or `auto` to try all of `CANDIDATES` and choose one.
            The naive forecasts are always added. The first model that is named makes the forecast.
        horizon: K, steps ahead; None takes two seasons, or 64 steps, and at most half of the held-out values.
        held_out: below 1 the share, from 1 on the number of values at the end to test on; None takes the source's own
            split, or a fifth.
        season: steps of a cycle, 1 if there is none; None takes that of the series' dates.
        seeds: how many seeds networks are fitted with.
        seed: the first of them.
        on_progress: called with the name of each model before it is fitted.
        told: the name of `on_progress` until 0.1; it goes in 0.3.

    Returns:
        The forecast, and the results of all models.

    Raises:
        ConfigError: no such model, or a number outside its range.
        DataError: the series is too short for a model or the horizon.
        DivergedError: the training of a network that was named diverged.
    """
    if told is not None:
        warnings.warn("forecast(told=...) is now on_progress=...; told goes in 0.3", DeprecationWarning, stacklevel=2)
        on_progress = told
    season = series.timeline.season if season is None else season
    if season is not None and not 1 <= season <= MAX_WINDOW:
        raise ConfigError(f"a season of {season:,} steps is not possible: give a --season of 1 to {MAX_WINDOW:,}")
    season = None if season == 1 else season
    cut = _cut(series, held_out)
    horizon = _horizon(series, cut, horizon, season)
    if not models:
        raise ConfigError("no model was named: give --model, or leave it out for auto")
    if (training := series.values[:cut]).min() == training.max():
        raise DataError(
            f"{series.name}: all of its {cut:,} training values are {training[0]:g}, so there is nothing to predict; "
            "leave the series out"
        )
    names, optional = _names(models, season)
    results, notes = [], []
    for name in names:
        on_progress(name)
        needed = seeds if parse_name(name)[0].depends_on_seed else 1
        try:
            each = [_fit_and_test(series, name, cut, horizon, season, seed + n) for n in range(needed)]
            results.append(ModelResult(name, each))
        except (DataError, DivergedError) as error:
            if name not in optional:
                raise
            notes.append(f"left out: {error}")
    automatic = AUTO in models
    # Where nothing could be tested on the end of the training part, the naive forecast comes first.
    chosen = (
        min(results, key=lambda one: one.calibration_mse).name if automatic else name_with_window(models[0], season)
    )
    on_progress(f"{chosen} on all values")
    whole = fit_forecaster(chosen, series.values, series.observed, horizon=horizon, season=season, seed=seed)
    path = whole.forecast(series.values, horizon)
    if not np.isfinite(path).all():
        raise DivergedError(f"{series.name}: the forecast of {chosen} is not finite: take another model")
    return ForecastResult(series, cut, horizon, season, results, chosen, automatic, path, notes)


def _names(models: Sequence[str], season: int | None) -> tuple[list[str], set[str]]:
    """All models to fit, each once, and those that may be left out: nobody named them."""
    naive = ["last", f"seasonal-{season}"] if season else ["last"]
    named = [name_with_window(name, season) for name in models if name != AUTO]
    added = [*naive, *(CANDIDATES if AUTO in models else ())]
    return list(dict.fromkeys([*added, *named])), set(added) - set(named) - {"last"}


def _cut(series: Series, held_out: float | None) -> int:
    """How many values are for training; the last of them was observed."""
    n = len(series)
    if held_out is None:
        cut = series.train_size or n - round(n * HELD_OUT)
    else:
        if not held_out > 0 or not math.isfinite(held_out) or (held_out >= 1 and held_out != int(held_out)):
            raise ConfigError(
                f"--held-out {held_out:g} is not possible: give a share between 0 and 1, or a whole number of values"
            )
        cut = n - (int(held_out) if held_out >= 1 else round(n * held_out))
    if not 2 <= cut < n:
        other = "lower" if cut < n else "higher"
        raise DataError(
            f"{series.name}: {n:,} values cannot be split into {cut:,} for training and {n - cut:,} held out: "
            f"give more values, or set --held-out {other}"
        )
    return int(np.flatnonzero(series.observed[:cut])[-1]) + 1


def _horizon(series: Series, cut: int, given: int | None, season: int | None) -> int:
    held_out = len(series) - cut
    if given is None:
        return max(1, min(2 * season if season else 64, held_out // 2))
    if given < 1:
        raise ConfigError(f"--horizon {given} is not possible: give at least 1 step")
    if given > held_out:
        raise DataError(
            f"{series.name}: a horizon of {given:,} steps cannot be measured on {held_out:,} held-out values: "
            f"give --horizon {held_out} or less, or a larger --held-out"
        )
    return given


def _fit_and_test(series: Series, name: str, cut: int, horizon: int, season: int | None, seed: int) -> SeedResult:
    def fitted_to(end: int) -> FittedForecaster:
        return fit_forecaster(
            name, series.values[:end], series.observed[:end], horizon=horizon, season=season, seed=seed
        )

    begun = time.perf_counter()
    fitted = fitted_to(cut)
    seconds = time.perf_counter() - begun
    earlier = int(np.flatnonzero(series.observed[: max(1, round(cut * EARLIER))])[-1]) + 1
    try:
        calibration = backtest(fitted_to(earlier), series, earlier, cut, horizon)
    except DataError:  # a window that fits into the training part need not fit into its beginning
        calibration = None
    rollout = fitted.forecast(series.values[:cut], len(series) - cut)
    observed = series.observed[cut:]
    with np.errstate(over="ignore"):
        rollout_mse = float(np.mean(differences(rollout, series.values[cut:], series.values)[observed] ** 2))
    test = backtest(fitted, series, cut, len(series), horizon)
    # The range of all values: where the series itself leaves that of its training part, following it is no divergence.
    diverged_at = divergence_step(rollout, series.values)
    return SeedResult(seed, fitted, calibration, test, rollout, rollout_mse, diverged_at, seconds)


def _overall(by_horizon: Values) -> float:
    """The mean over the horizons that have a figure; infinite if none has."""
    there = by_horizon[~np.isnan(by_horizon)]
    return float(there.mean()) if len(there) else math.inf


def display_horizons(horizon: int) -> list[int]:
    """The horizons of tables and pictures: 1, 4, 16, 64, ... and the last."""
    return sorted({k for k in (4**n for n in range(12)) if k <= horizon} | {horizon})


def findings(study: ForecastResult) -> list[Finding]:
    """Which model makes the forecast, and what the figures of all mean."""
    chosen = study.model(study.chosen)
    reason = "chosen by its error on the end of the training part" if study.automatic else "given with --model"
    if study.automatic and math.isinf(chosen.calibration_mse):
        reason = "the naive forecast, since there are too few training values to choose on"
    # Errors of origins that lie less than a horizon apart are of the same values, so blocks are twice as long.
    count = block_count(len(chosen.by_seed[0].test.origins), 2 * study.horizon)
    tested = [
        ForecasterErrors(
            e.name,
            e.mse,
            e.name.startswith(NAIVE),
            [t.diverged_at for t in e.by_seed],
            np.array([t.test.block_costs(count) for t in e.by_seed]),
            parse_name(e.name)[0].depends_on_seed,
        )
        for e in study.models
    ]
    return of_forecast(tested, study.chosen, reason=reason, coverage=_coverage(chosen))


def verdict(study: ForecastResult) -> list[str]:
    """The findings in words."""
    return sentences(findings(study))


def _coverage(entry: ModelResult) -> dict[float, float]:
    """The share of held-out values within the intervals of each level, where there are intervals."""
    found = {}
    for level in LEVELS:
        measured = entry.median_by_horizon(lambda trial, level=level: trial.coverage(level))  # type: ignore[misc]  # bound now
        there = measured[~np.isnan(measured)]
        if len(there):
            found[level] = float(there.mean())
    return found


def to_dict(study: ForecastResult) -> dict[str, Any]:
    """The result as JSON values."""
    scale = study.mase_scale
    widths = {f"{level:.0%}": study.half_width(level) for level in LEVELS}
    found = findings(study)
    return {
        "series": study.series.name,
        "values": len(study.series),
        "left_out": study.series.left_out,
        "filled": int((~study.series.observed).sum()),
        "training_values": study.train_size,
        "held_out_values": len(study.series) - study.train_size,
        "horizon": study.horizon,
        "season": study.season,
        "noise_floor": study.series.noise_variance,
        "chosen": study.chosen,
        "automatic": study.automatic,
        "mase_scale": scale,
        "models": [_model_dict(one, scale) for one in study.models],
        "forecast": [
            {
                "step": k + 1,
                "ds": study.series.timeline.at(len(study.series) + k),
                "value": float(study.forecast[k]),
                "intervals": {level: _interval(study.forecast[k], half[k]) for level, half in widths.items()},
            }
            for k in range(study.horizon)
        ],
        "notes": study.notes,
        "verdict": sentences(found),
        "findings": [finding.to_dict() for finding in found],
    }


def _interval(value: float, half: float) -> list[float] | None:
    return [float(value - half), float(value + half)] if math.isfinite(half) else None


def _model_dict(one: ModelResult, scale: float) -> dict[str, Any]:
    model = one.by_seed[0].fitted.model
    mae = one.median_by_horizon(lambda r: r.test.mae)
    return {
        "model": one.name,
        "seeds": [r.seed for r in one.by_seed],
        "parameters": model.parameter_count(),
        "operations": model.operations(),
        "seconds": median(r.seconds for r in one.by_seed),
        "mse": one.mse.tolist(),
        "mse_of_seeds": [r.test.mse.tolist() for r in one.by_seed],
        "mae": mae.tolist(),
        "mase": (mae / scale).tolist() if scale else [math.nan] * len(mae),
        "free_running_mse": median(r.rollout_mse for r in one.by_seed),
        "free_running_mse_of_seeds": [r.rollout_mse for r in one.by_seed],
        "diverged_at": [r.diverged_at for r in one.by_seed],
        "calibration_mse": one.calibration_mse,
        "coverage": {
            f"{level:.0%}": one.median_by_horizon(lambda r, level=level: r.coverage(level)).tolist()  # type: ignore[misc]  # bound now
            for level in LEVELS
        },
    }
