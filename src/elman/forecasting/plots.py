"""Pictures of forecasts; matplotlib is optional, as in `elman.plotting`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from elman.forecasting.series import Series, Values
from elman.forecasting.study import LEVELS, ForecastResult, ModelResult, display_horizons
from elman.plotting import BOUND, HELD_OUT, TRAIN, figure_bytes, new_figure, nice_ticks
from elman.storage.atomic import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 3000  # values of a picture at most, the last ones
COLOURS = ("#2a6fb0", "#c8452f", "#2e8b57", "#8a5fb0", "#b8860b", "#008b8b", "#d0679d", "#6b6b2a", "#444444", "#a0522d")
HISTORY = 3  # horizons of data that are drawn before a forecast


def draw(study: ForecastResult, folder: Path, stem: str) -> list[Path]:
    """Write the four pictures of a forecast into a folder.

    STEM-predictions  the data, each value predicted from those before it, and the rollout over the held-out values
    STEM-ahead        predictions 1, 4, 16, 64, ... steps ahead over the held-out values
    STEM-errors       squared error against horizon, of every model, and the noise floor where it is known
    STEM-forecast     what comes next, with prediction intervals

    Args:
        study: the result of a forecast.
        folder: an existing folder.
        stem: how the names of the files begin.

    Returns:
        The paths of the pictures.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    drawings = {"predictions": predictions, "ahead": steps_ahead, "errors": errors, "forecast": future}
    paths = []
    for name, drawing in drawings.items():
        figure = new_figure(height=4.2)
        axes = figure.subplots()
        drawing(axes, study)
        axes.spines[["top", "right"]].set_visible(False)
        paths.append(folder / f"{stem}-{name}.png")
        title = f"{study.series.name}: {_TITLES[name].format(study.chosen)}"
        replace_file(paths[-1], figure_bytes(figure, axes, title, pad=None if name == "errors" else 22))
    return paths


_TITLES = {
    "predictions": "{}, one step ahead and running free",
    "ahead": "{}, several steps ahead",
    "errors": "error on held-out values",
    "forecast": "{}, what comes next",
}


def predictions(axes: "Axes", study: ForecastResult) -> None:
    """Draw the data, one-step predictions, and the rollout from the end of the training part.

    Args:
        axes: where to draw.
        study: the result of a forecast.
    """
    series, cut, trial = study.series, study.train_size, study.model(study.chosen).by_seed[0]
    first = max(0, len(series) - SHOWN, cut - 2 * (len(series) - cut))
    one_step = trial.fitted.predict_one_step(series.values)
    at = _times(series, range(first, len(series)))
    axes.plot(at, series.values[first:], color=BOUND, linewidth=0.8, label="data", alpha=0.6)
    axes.plot(at, one_step[first:], color=TRAIN, linewidth=1.1, label="one step ahead")
    if cut >= first:
        axes.plot(at[cut - first :], trial.rollout, color=HELD_OUT, linewidth=1.6, label="running free")
        axes.axvline(at[cut - first], color=BOUND, linestyle=":", linewidth=1)
    _within(axes, series.values)
    _finish(axes, "value")


def steps_ahead(axes: "Axes", study: ForecastResult) -> None:
    """Draw predictions k steps ahead over the held-out values, one line for each horizon.

    Args:
        axes: where to draw.
        study: the result of a forecast.
    """
    series, test = study.series, study.model(study.chosen).by_seed[0].test
    first = max(study.train_size, len(series) - SHOWN)
    axes.plot(
        _times(series, range(first, len(series))),
        series.values[first:],
        color=BOUND,
        linewidth=0.8,
        alpha=0.6,
        label="data",
    )
    for colour, k in zip(COLOURS, display_horizons(study.horizon), strict=False):
        targets = test.origins + k
        there = (targets >= first) & (targets < len(series))
        axes.plot(
            _times(series, targets[there]), test.predicted[there, k - 1], color=colour, linewidth=1.3, label=_ahead(k)
        )
    _within(axes, series.values)
    _finish(axes, "value")


def errors(axes: "Axes", study: ForecastResult) -> None:
    """Draw the mean squared error against the horizon: the median over the seeds, and their range.

    Args:
        axes: where to draw.
        study: the result of a forecast.
    """
    k = np.arange(1, study.horizon + 1)
    order: Sequence[ModelResult] = sorted(study.models, key=lambda e: float(np.nan_to_num(e.mse[-1], nan=np.inf)))
    for colour, entry in zip(COLOURS * 3, order, strict=False):
        chosen = entry.name == study.chosen
        shown = np.where(np.isfinite(entry.mse) & (entry.mse > 0), entry.mse, np.nan)  # the others have no logarithm
        axes.plot(k, shown, color=colour, linewidth=2.4 if chosen else 1.2, label=entry.name, zorder=3 if chosen else 2)
        if len(entry.by_seed) > 1:
            each = [trial.test.mse for trial in entry.by_seed]
            axes.fill_between(k, np.min(each, 0), np.max(each, 0), color=colour, alpha=0.15, linewidth=0)
    if study.series.noise_variance:
        axes.axhline(study.series.noise_variance, color=BOUND, linestyle=":", linewidth=1.2, label="noise floor")
    finite = [e for entry in study.models for e in entry.mse if np.isfinite(e) and e > 0]
    if finite:
        axes.set_yscale("log")
    if finite and max(finite) > 100 * min(finite):  # a model that diverges would hide all others
        axes.set_ylim(top=100 * min(finite))
    nice_ticks(axes)
    if study.horizon > 8:
        axes.set_xscale("log", base=2)
        axes.set_xticks(display_horizons(study.horizon), [str(h) for h in display_horizons(study.horizon)])
    axes.set_xlabel("steps ahead")
    axes.set_ylabel("mean squared error")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def future(axes: "Axes", study: ForecastResult) -> None:
    """Draw the end of the data, the forecast, and its prediction intervals.

    Args:
        axes: where to draw.
        study: the result of a forecast.
    """
    series, n = study.series, len(study.series)
    first = max(0, n - min(SHOWN, max(HISTORY * study.horizon, 20)))
    axes.plot(_times(series, range(first, n)), series.values[first:], color=BOUND, linewidth=1, label="data")
    at = _times(series, range(n - 1, n + study.horizon))
    middle = np.concatenate((series.values[-1:], study.forecast))
    for level, shade in zip(sorted(LEVELS, reverse=True), (0.15, 0.3), strict=True):
        half = np.concatenate(([0.0], study.half_width(level)))
        if np.isfinite(half).all():
            axes.fill_between(
                at, middle - half, middle + half, color=TRAIN, alpha=shade, linewidth=0, label=f"{level:.0%} interval"
            )
    axes.plot(at, middle, color=TRAIN, linewidth=1.6, label=study.chosen)
    _finish(axes, "value")


def _ahead(k: int) -> str:
    return f"{k} step ahead" if k == 1 else f"{k} steps ahead"


def _times(series: Series, positions: Sequence[int] | npt.NDArray[np.int64]) -> Any:
    """Positions as values of the time axis: dates if the series has some, numbers otherwise."""
    stamps = [series.timeline.at(int(p)) for p in positions]
    try:
        return np.array(stamps, float)
    except ValueError:
        dates = [stamp.rstrip("Z") for stamp in stamps]
    if all(len(year := date.split("-")[0]) == 4 and "0002" <= year <= "9989" for date in dates):
        return np.array(dates, "datetime64[us]")
    return np.asarray(positions, float)  # matplotlib draws the years 1 to 9999, ticks included


def _within(axes: "Axes", values: Values) -> None:
    """Limit the axis to the range of the data and as much again, so that a rollout that diverges leaves the picture."""
    low, high = float(values.min()), float(values.max())
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, low - (high - low) / 2), min(top, high + (high - low) / 2))


def _dates_apart(axes: "Axes") -> None:
    """Write dates so short that they do not overlap."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    if isinstance(axes.xaxis.get_major_locator(), AutoDateLocator):
        locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]  # matplotlib's
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # matplotlib's


def _finish(axes: "Axes", what: str) -> None:
    axes.set_ylabel(what)
    axes.tick_params(axis="x", labelsize=8)
    _dates_apart(axes)
    axes.margins(x=0.01)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=5, borderaxespad=0.2)
