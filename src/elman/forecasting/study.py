"""Forecasting a series, measured: fit, back-test, choose, and predict what comes after the end of the data.

    values    [ earlier | later ][ held out ][ future ]
                train -->                                 1. fitted to the earlier part, tested on the later:
                                                             chooses the model, and calibrates its intervals
                train ---------->                         2. fitted to the training part, tested on what was held out:
                                                             every figure of the report
                train --------------------->              3. the chosen one fitted to everything: the forecast

Nothing is fitted to, scaled by or chosen on a value that comes after it.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import numpy as np

from elman.errors import ConfigError, DataError, DivergedError
from elman.forecasting.backtest import Backtest, backtest, divergence, naive_error
from elman.forecasting.fit import LONGEST, Fitted, fit, full_name, parse
from elman.forecasting.series import Series, Values
from elman.inference.findings.base import Finding, sentences
from elman.inference.findings.forecast import ForecasterErrors, of_forecast

AUTO: Final = "auto"
CANDIDATES: Final = ("mean-16", "ar-4", "ar-16", "ridge-16", "ridge-64", "ridge-128", "mlp-16", "gru-64")
"""What `auto` chooses from, with the naive forecasts, where the series is long enough for them."""
EARLIER: Final = 0.7
"""The share of the training part that a model is fitted to, to be tested on the rest of it."""
HELD_OUT: Final = 0.2
NAIVE: Final = ("last", "seasonal")
LEVELS: Final = (0.8, 0.95)
"""Of the intervals."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One model with one seed."""

    seed: int
    fitted: Fitted
    """To the training part."""
    calibration: Backtest | None
    """On the end of the training part; None where that is too short for it."""
    test: Backtest
    """On the held-out values."""
    free: Values
    """The run on its own predictions over all held-out values."""
    free_mse: float
    diverged: int | None
    """The step at which that run leaves the range of the data."""
    seconds: float
    """Of fitting to the training part."""

    def coverage(self, level: float) -> Values:
        """The share of held-out targets within the interval, by horizon; NaN without one."""
        if self.calibration is None:
            return np.full(self.test.errors.shape[1], np.nan)
        widths = self.calibration.intervals(level)
        return np.where(np.isfinite(widths), self.test.coverage(widths), np.nan)


@dataclass(frozen=True, eq=False)
class Entry:
    """One model with all of its seeds."""

    name: str
    trials: list[Trial]

    def by_horizon(self, what: Callable[[Trial], Values]) -> Values:
        """The median over the seeds of a figure by horizon, (K,)."""
        return np.median([what(trial) for trial in self.trials], 0)

    @property
    def mse(self) -> Values:
        """Mean squared error by horizon, (K,), the median over the seeds."""
        return self.by_horizon(lambda trial: trial.test.mse)

    @property
    def chosen_by(self) -> float:
        """What `auto` compares: the mean of the squared error over all horizons on the end of the training part."""
        figures = [_overall(t.calibration.mse) if t.calibration else math.nan for t in self.trials]
        return median(figures) if not any(map(math.isnan, figures)) else math.inf


@dataclass(frozen=True, eq=False)
class ForecastResult:
    """Everything that is known about the forecasts of one series."""

    series: Series
    cut: int
    """How many values are for training."""
    horizon: int
    season: int | None
    entries: list[Entry]
    """In the order in which they were asked for."""
    chosen: str
    """The name of the model that makes the forecast."""
    automatic: bool
    """Whether it was chosen, not asked for."""
    forecast: Values
    """(K,): the values after the last."""
    notes: list[str] = field(default_factory=list)

    def entry(self, name: str) -> Entry:
        """The entry of that name."""
        return next(entry for entry in self.entries if entry.name == name)

    @property
    def best(self) -> Entry:
        """The one with the least squared error on held-out values, over all horizons."""
        return min(self.entries, key=lambda e: _overall(e.mse))

    @property
    def scale(self) -> float:
        """What MASE divides by."""
        return naive_error(self.series.values[: self.cut], self.series.known[: self.cut], self.season or 1)

    def interval(self, level: float) -> Values:
        """Half the width of the forecast's interval, (K,): its held-out errors are the calibration."""
        return self.entry(self.chosen).trials[0].test.intervals(level)


def forecast(
    series: Series,
    models: Sequence[str] = (AUTO,),
    *,
    horizon: int | None = None,
    held_out: float | None = None,
    season: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    told: Callable[[str], None] = lambda _: None,
) -> ForecastResult:
    """Fit and test forecasters on one series, and forecast what follows it.

    Args:
        series: the values.
        models: names (`elman.forecasting.fit.KINDS`), or `auto` for all of `CANDIDATES` and the choice among them.
            The naive forecasts always stand beside them. The first one named makes the forecast.
        horizon: K, how many steps ahead; None takes two seasons, or 64, and never more than half of what is held out.
        held_out: below 1 the share, from 1 on the number of values at the end to test on; None takes the source's own
            split, or a fifth.
        season: steps of a cycle; None asks the timeline.
        seeds: how many seeds networks are fitted with, from `seed` on.
        seed: the first.
        told: called with a word about each fit that begins.

    Raises:
        ConfigError: no such model, or numbers that cannot be.
        DataError: the series is too short for a model or the horizon.
        DivergedError: the training of a network that was asked for by name did.
    """
    season = season or series.timeline.season
    if season is not None and not 1 <= season <= LONGEST:
        raise ConfigError(f"a season of {season:,} steps: give a --season of 1 to {LONGEST:,}")
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
    entries, notes = [], []
    for name in names:
        told(name)
        alike = 1 if not parse(name)[0].learns else seeds
        try:
            entries.append(Entry(name, [_trial(series, name, cut, horizon, season, seed + n) for n in range(alike)]))
        except (DataError, DivergedError) as error:
            if name not in optional:
                raise
            notes.append(f"left out: {error}")
    automatic = AUTO in models
    # Where nothing could be tested on the end of the training part, the naive forecast comes first.
    chosen = min(entries, key=lambda e: e.chosen_by).name if automatic else full_name(models[0], season)
    told(f"{chosen} on everything")
    whole = fit(chosen, series.values, series.known, horizon=horizon, season=season, seed=seed)
    path = whole.free(series.values, horizon)
    if not np.isfinite(path).all():
        raise DivergedError(f"{series.name}: the forecast of {chosen} is not finite; take another model")
    return ForecastResult(series, cut, horizon, season, entries, chosen, automatic, path, notes)


def _names(models: Sequence[str], season: int | None) -> tuple[list[str], set[str]]:
    """All models to fit, each once, and those that nobody asked for by name."""
    naive = ["last", f"seasonal-{season}"] if season else ["last"]
    asked = [full_name(name, season) for name in models if name != AUTO]
    offered = [*naive, *(CANDIDATES if AUTO in models else ())]
    return list(dict.fromkeys([*offered, *asked])), set(offered) - set(asked) - {"last"}


def _cut(series: Series, held_out: float | None) -> int:
    """How many values are for training; the last of them is one that was observed."""
    n = len(series)
    if held_out is None:
        cut = series.cut or n - round(n * HELD_OUT)
    else:
        if not held_out > 0 or not math.isfinite(held_out) or (held_out >= 1 and held_out != int(held_out)):
            raise ConfigError(f"--held-out {held_out:g}: give a share between 0 and 1, or a whole number of values")
        cut = n - (int(held_out) if held_out >= 1 else round(n * held_out))
    if not 2 <= cut < n:
        other = "lower" if cut < n else "higher"
        raise DataError(
            f"{series.name}: {n:,} values cannot be split into {cut:,} for training and {n - cut:,} held out: "
            f"give more values, or set --held-out {other}"
        )
    return int(np.flatnonzero(series.known[:cut])[-1]) + 1


def _horizon(series: Series, cut: int, asked: int | None, season: int | None) -> int:
    held_out = len(series) - cut
    if asked is None:
        return max(1, min(2 * season if season else 64, held_out // 2))
    if asked < 1:
        raise ConfigError(f"--horizon {asked}: at least one step ahead is predicted")
    if asked > held_out:
        raise DataError(
            f"{series.name}: a horizon of {asked:,} steps cannot be measured on {held_out:,} held-out values: "
            f"give --horizon {held_out} or less, or a larger --held-out"
        )
    return asked


def _trial(series: Series, name: str, cut: int, horizon: int, season: int | None, seed: int) -> Trial:
    def fitted_to(end: int) -> Fitted:
        return fit(name, series.values[:end], series.known[:end], horizon=horizon, season=season, seed=seed)

    begun = time.perf_counter()
    fitted = fitted_to(cut)
    seconds = time.perf_counter() - begun
    earlier = int(np.flatnonzero(series.known[: max(1, round(cut * EARLIER))])[-1]) + 1
    try:
        calibration = backtest(fitted_to(earlier), series, earlier, cut, horizon)
    except DataError:  # a window that fits into the training part need not fit into its beginning
        calibration = None
    free = fitted.free(series.values[:cut], len(series) - cut)
    known = series.known[cut:]
    with np.errstate(over="ignore"):
        free_mse = float(np.mean((free - series.values[cut:])[known] ** 2))
    test = backtest(fitted, series, cut, len(series), horizon)
    return Trial(seed, fitted, calibration, test, free, free_mse, divergence(free, series.values[:cut]), seconds)


def _overall(by_horizon: Values) -> float:
    """The mean over the horizons that have a figure; infinite without any."""
    there = by_horizon[~np.isnan(by_horizon)]
    return float(there.mean()) if len(there) else math.inf


def shown_horizons(horizon: int) -> list[int]:
    """The horizons of tables and pictures: 1, 4, 16, 64, ... and the last (S82)."""
    return sorted({k for k in (4**n for n in range(12)) if k <= horizon} | {horizon})


def findings(study: ForecastResult) -> list[Finding]:
    """Which model makes the forecast, and what the figures of all mean."""
    chosen = study.entry(study.chosen)
    reason = "chosen by its error on the end of the training part" if study.automatic else "asked for"
    if study.automatic and math.isinf(chosen.chosen_by):
        reason = "the naive forecast, since there are too few training values to choose on"
    tested = [
        ForecasterErrors(e.name, e.mse, e.name.startswith(NAIVE), [t.diverged for t in e.trials]) for e in study.entries
    ]
    return of_forecast(tested, study.chosen, reason=reason, coverage=_coverage(chosen))


def verdict(study: ForecastResult) -> list[str]:
    """The findings in words."""
    return sentences(findings(study))


def _coverage(entry: Entry) -> dict[float, float]:
    """The share of held-out values within the intervals of each level, where there are intervals."""
    found = {}
    for level in LEVELS:
        measured = entry.by_horizon(lambda trial, level=level: trial.coverage(level))  # type: ignore[misc]  # bound now
        there = measured[~np.isnan(measured)]
        if len(there):
            found[level] = float(there.mean())
    return found


def described(study: ForecastResult) -> dict[str, Any]:
    """A study as JSON values."""
    scale = study.scale
    return {
        "series": study.series.name,
        "values": len(study.series),
        "left_out": study.series.left_out,
        "filled": int((~study.series.known).sum()),
        "training_values": study.cut,
        "held_out_values": len(study.series) - study.cut,
        "horizon": study.horizon,
        "season": study.season,
        "noise_floor": study.series.noise,
        "chosen": study.chosen,
        "automatic": study.automatic,
        "mase_scale": scale,
        "models": [_described(entry, scale) for entry in study.entries],
        "forecast": [
            {
                "step": k + 1,
                "ds": study.series.timeline.at(len(study.series) + k),
                "value": float(study.forecast[k]),
                "intervals": {f"{level:.0%}": _pair(study.forecast[k], study.interval(level)[k]) for level in LEVELS},
            }
            for k in range(study.horizon)
        ],
        "notes": study.notes,
        "verdict": verdict(study),
        "findings": [finding.to_dict() for finding in findings(study)],
    }


def _pair(value: float, half: float) -> list[float] | None:
    return [float(value - half), float(value + half)] if math.isfinite(half) else None


def _described(entry: Entry, scale: float) -> dict[str, Any]:
    model = entry.trials[0].fitted.model
    mae = entry.by_horizon(lambda trial: trial.test.mae)
    return {
        "model": entry.name,
        "seeds": [trial.seed for trial in entry.trials],
        "parameters": model.parameter_count(),
        "operations": model.operations(),
        "seconds": median(trial.seconds for trial in entry.trials),
        "mse": entry.mse.tolist(),
        "mse_of_seeds": [trial.test.mse.tolist() for trial in entry.trials],
        "mae": mae.tolist(),
        "mase": (mae / scale).tolist() if scale else [math.nan] * len(mae),
        "free_running_mse": median(trial.free_mse for trial in entry.trials),
        "free_running_mse_of_seeds": [trial.free_mse for trial in entry.trials],
        "diverged_at": [trial.diverged for trial in entry.trials],
        "calibration_mse": entry.chosen_by,
        "coverage": {
            f"{level:.0%}": entry.by_horizon(lambda t, level=level: t.coverage(level)).tolist()  # type: ignore[misc]  # bound now
            for level in LEVELS
        },
    }
