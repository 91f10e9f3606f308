"""What the figures of forecasters on one series mean."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elman.inference.findings.base import Finding

Errors = npt.NDArray[np.float64]


class ForecasterErrors(NamedTuple):
    """A forecaster, tested on the held-out values.

    Args:
        name: as tables call it.
        mse: mean squared error by horizon, (K,), the median over seeds; NaN where there is none.
        is_naive: whether it repeats a value of the past.
        diverged: for each seed the step at which a forecast of all held-out values left the range of the data, or None.
    """

    name: str
    mse: Errors
    is_naive: bool = False
    diverged: Sequence[int | None] = ()

    @property
    def overall(self) -> float:
        """The mean over the horizons that have a figure; infinite without any."""
        there = self.mse[~np.isnan(self.mse)]
        return float(there.mean()) if len(there) else math.inf


def of_forecast(
    tested: Sequence[ForecasterErrors], chosen: str, *, reason: str, coverage: Mapping[float, float]
) -> list[Finding]:
    """Findings about the forecasts of one series.

    Args:
        tested: all forecasters in the order in which they were asked for; a naive one and `last` are among them.
        chosen: the name of the one that makes the forecast.
        reason: why that one.
        coverage: the share of held-out values within the intervals of each level; empty: there are no intervals.
    """
    named = {each.name: each for each in tested}
    best = min(tested, key=lambda each: each.overall)
    naive = min((each for each in tested if each.is_naive), key=lambda each: each.overall)
    one = named[chosen]
    return [
        Finding("chosen", "note", f"{chosen}, {reason}, makes the forecast."),
        *better_on_held_out(one, best),
        *against_naive(one, naive),
        *useful_horizon(one, named["last"]),
        *(finding for each in tested for finding in divergence(each)),
        intervals(coverage),
    ]


def better_on_held_out(chosen: ForecasterErrors, best: ForecasterErrors) -> list[Finding]:
    """Another forecaster has the smaller squared error over all horizons.

    Args:
        chosen: the one that makes the forecast.
        best: the one with the least error.
    """
    if not best.overall < chosen.overall:
        return []
    sentence = (
        f"On the held-out values {best.name} is better: mean squared error {best.overall:.4g} over all "
        f"horizons, against {chosen.overall:.4g}."
    )
    return [Finding("better", "warning", sentence, {best.name: best.overall, chosen.name: chosen.overall})]


def against_naive(chosen: ForecasterErrors, naive: ForecasterErrors) -> list[Finding]:
    """The squared error over all horizons is not under that of the best naive forecast, or how much it is.

    Args:
        chosen: the one that makes the forecast; if it is naive itself, nothing is found.
        naive: the best naive one.
    """
    figures = {chosen.name: chosen.overall, naive.name: naive.overall}
    if chosen.is_naive:
        return []
    if chosen.overall >= naive.overall:
        sentence = (
            f"The naive forecast {naive.name} is at least as good: mean squared error {naive.overall:.4g} "
            f"against {chosen.overall:.4g}; do not use {chosen.name}."
        )
        return [Finding("naive", "problem", sentence, figures)]
    less = 1 - chosen.overall / naive.overall
    sentence = (
        f"The squared error of {chosen.name} is {less:.0%} less than that of the best naive forecast, {naive.name}."
    )
    return [Finding("naive", "note", sentence, figures)]


def useful_horizon(chosen: ForecasterErrors, last: ForecasterErrors) -> list[Finding]:
    """The last horizon at which the error is under that of the last value is not the longest one.

    Args:
        chosen: the one that makes the forecast.
        last: the forecast that repeats the last value.
    """
    better = np.flatnonzero(chosen.mse < last.mse)
    if not len(better) or better[-1] + 1 == len(chosen.mse):
        return []
    steps = int(better[-1]) + 1
    sentence = (
        f"Over {steps} step{'s' if steps > 1 else ''} ahead, {chosen.name} is no better than repeating the last value."
    )
    return [Finding("horizon", "warning", sentence, {"steps": steps})]


def divergence(tested: ForecasterErrors) -> list[Finding]:
    """With some seed, a forecast from its own forecasts leaves the range of the data by more than that range."""
    found = [step for step in tested.diverged if step is not None]
    if not found:
        return []
    sentence = (
        f"{tested.name} diverges when it is fed its own predictions: after {min(found)} steps they are outside the "
        f"range of the data by more than the width of that range ({len(found)} of {len(tested.diverged)} seeds)."
    )
    return [Finding("divergence", "warning", sentence, {"step": min(found), "seeds": len(found)})]


def intervals(coverage: Mapping[float, float]) -> Finding:
    """How many of the held-out values lie within the intervals of each level."""
    if not coverage:
        sentence = "No intervals: the training part is too short to calibrate them."
        return Finding("intervals", "warning", sentence)
    shares = ", ".join(
        f"{level:.0%} intervals hold {share:.0%} of the held-out values" for level, share in coverage.items()
    )
    figures = {f"{level:.0%}": share for level, share in coverage.items()}
    return Finding("intervals", "note", f"{shares} (calibrated on the end of the training part).", figures)
