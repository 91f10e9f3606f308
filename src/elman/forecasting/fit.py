"""From a name to a fitted forecaster, and predictions in the units of the data.

ridge-128 = kind "ridge", window 128           standardised = (value - mean) / deviation, of the training part
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
from elman.forecasting.base import Forecaster, ahead, one_step
from elman.forecasting.linear import Known, Values

LONGEST: Final = 100_000  # values in a window


@dataclass(frozen=True)
class Task:
    """What a forecaster is fitted to."""

    values: Values
    """(T,) training values, standardised if the kind wants it."""
    known: Known
    """(T,): those that were observed, and may be targets."""
    horizon: int
    """How many steps ahead it will be asked for."""
    season: int | None
    seed: int


@dataclass(frozen=True)
class Kind:
    """A kind of forecaster."""

    fit: Callable[[Task, int], Forecaster]
    """Fits one with a window of that many values."""
    window: int
    """Where the name gives none."""
    learns: bool = True
    """Whether seeds change it."""
    standardised: bool = True
    windowed: bool = True
    """Whether its name may end in a window."""


def _seasonal(task: Task, season: int) -> Forecaster:
    season = season or task.season or 0
    if not season:
        raise ConfigError("seasonal needs a season, and the times tell none: give --season, or write seasonal-12")
    if season >= len(task.values):
        raise DataError(f"a season of {season:,} is longer than the {len(task.values):,} training values")
    return linear.seasonal(season)


KINDS: dict[str, Kind] = {
    "last": Kind(lambda _task, _tau: linear.last(), 1, learns=False, windowed=False),
    "seasonal": Kind(_seasonal, 0, learns=False),
    "mean": Kind(lambda t, tau: linear.mean(tau, len(t.values)), 16, learns=False),
    "ar": Kind(lambda t, tau: linear.least_squares(t.values, t.known, tau), 4, learns=False),
    "ridge": Kind(lambda t, tau: linear.ridge(t.values, t.known, tau, t.horizon), 64, learns=False),
    "mlp": Kind(lambda t, tau: learn.mlp(t.values, t.known, tau, t.seed), 16),
    "mlp-reference": Kind(lambda t, tau: learn.reference_mlp(t.values, t.known, tau, t.seed), 4, standardised=False),
}
"""Every kind of forecaster by its name."""


def _cell_kinds(cell: str) -> dict[str, Kind]:
    def one_step(task: Task, window: int) -> Forecaster:
        return learn.recurrent(task.values, task.known, cell, window, task.seed)

    def own_outputs(task: Task, window: int) -> Forecaster:
        return learn.recurrent(task.values, task.known, cell, window, task.seed, horizon=max(2, task.horizon))

    return {cell: Kind(one_step, 64), f"{cell}-ahead": Kind(own_outputs, 64)}


for _cell in sorted(CELLS):
    KINDS |= _cell_kinds(_cell)


def parse(name: str) -> tuple[Kind, int]:
    """The kind of forecaster that a name means, and its window.

    Raises:
        ConfigError: there is none of that name.
    """
    match = re.fullmatch(r"(.+?)(?:-(\d{1,6}))?", name)
    kind, window = (match[1], match[2]) if match else (name, None)
    if kind not in KINDS:
        raise ConfigError(no_such("model", name, KINDS) + "; a window may follow, as in ridge-64")
    if window is None:
        return KINDS[kind], KINDS[kind].window
    if not KINDS[kind].windowed or not 1 <= int(window) <= LONGEST:
        raise ConfigError(f"there is no model {name!r}: {kind} takes a window of 1 to {LONGEST:,} values, or none")
    return KINDS[kind], int(window)


def full_name(name: str, season: int | None = None) -> str:
    """The name with its window: `ridge` is `ridge-64`.

    Raises:
        ConfigError: there is no such forecaster.
    """
    kind, window = parse(name)
    window = window or season or 0
    return name if re.search(r"-\d+$", name) or not kind.windowed or not window else f"{name}-{window}"


@dataclass(frozen=True, eq=False)
class Fitted:
    """A forecaster and the scale of its values."""

    model: Forecaster
    mean: float
    deviation: float

    def ahead(self, values: Values, origins: npt.NDArray[np.int64], steps: int) -> Values:
        """Predictions (N, steps) after each origin, an index into `values` (T,), from what was seen until then."""
        predicted: Values = ahead(self.model, self._standardised(values), torch.from_numpy(origins), steps).numpy()
        return np.asarray(predicted * self.deviation + self.mean)

    def one_step(self, values: Values) -> Values:
        """The prediction (T,) of each of `values` from those before it; NaN where these were too few."""
        after: Values = one_step(self.model, self._standardised(values)).numpy()
        return np.concatenate((np.array([np.nan]), after[:-1])) * self.deviation + self.mean

    def free(self, values: Values, steps: int) -> Values:
        """The next `steps` values, each predicted from the predictions before it."""
        (path,) = self.ahead(values, np.array([len(values) - 1]), steps)
        return np.asarray(path)

    def _standardised(self, values: Values) -> torch.Tensor:
        return torch.from_numpy((values - self.mean) / self.deviation)


def fit(
    name: str, values: Values, known: Known | None = None, *, horizon: int = 1, season: int | None = None, seed: int = 0
) -> Fitted:
    """Fit the forecaster of that name to training values, and only those.

    Args:
        name: see `KINDS`; a window may follow, as in `ridge-128`.
        values: (T,) the training part.
        known: (T,) those that were observed; None for all. A filled value is read, but never a target.
        horizon: how many steps ahead it will be asked for.
        season: steps of a cycle, for `seasonal`.
        seed: of what is random.

    Raises:
        ConfigError: no such forecaster.
        DataError: too few values for it, or all alike.
        DivergedError: its training met a number that is not finite.

    Example:
        >>> wave = np.sin(np.arange(100.0))
        >>> fit("ar-2", wave[:50]).free(wave[:50], 2).round(3), wave[50:52].round(3)
        (array([-0.262,  0.67 ]), array([-0.262,  0.67 ]))
    """
    kind, window = parse(name)
    known = np.ones(len(values), np.bool_) if known is None else known
    mean, deviation = (float(values.mean()), float(values.std())) if kind.standardised else (0.0, 1.0)
    if values.min() == values.max():
        raise DataError(f"all of the {len(values):,} training values are {values[0]:g}: there is nothing to predict")
    task = Task((values - mean) / deviation, known, horizon, season, seed)
    return Fitted(kind.fit(task, window), mean, deviation)
