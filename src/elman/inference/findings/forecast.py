"""What the figures of forecasters on one series mean; one is called better by the test of `significance`."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elman.inference.findings.base import Finding
from elman.inference.findings.comparison import written
from elman.inference.significance import BlockCosts, Difference, differences

Errors = npt.NDArray[np.float64]


class ForecasterErrors(NamedTuple):
    """A forecaster, tested on the held-out values.

    Args:
        name: as tables call it.
        mse: mean squared error by horizon, (K,), the median over seeds; NaN where there is none.
        is_naive: whether it repeats a value of the past.
        diverged: for each seed the step at which a forecast of all held-out values left the range of the data, or None.
        blocks: what each block of consecutive origins adds to `overall`, (S, Q), a row a seed; None or Q = 0: there are
            too few held-out values for a test.
        has_seeds: whether another seed would give other forecasts.
    """

    name: str
    mse: Errors
    is_naive: bool = False
    diverged: Sequence[int | None] = ()
    blocks: Errors | None = None
    has_seeds: bool = False

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
    apart = tested_against(one, tested)
    return [
        Finding("chosen", "note", f"{chosen}, {reason}, makes the forecast."),
        *better_on_held_out(one, best, apart.get(best.name)),
        *against_naive(one, naive, apart.get(naive.name)),
        *useful_horizon(one, named["last"]),
        *(finding for each in tested for finding in divergence(each)),
        intervals(coverage),
    ]


def tested_against(chosen: ForecasterErrors, tested: Sequence[ForecasterErrors]) -> dict[str, Difference]:
    """The error of each other forecaster minus that of the chosen one, by name; empty where nothing can be tested.

    Args:
        chosen: one of the forecasters.
        tested: all forecasters.
    """
    costs = [
        BlockCosts(each.name, each.blocks, each.has_seeds)
        for each in (chosen, *(each for each in tested if each.name != chosen.name))
        if each.blocks is not None and each.blocks.shape[1]
    ]
    if len(costs) < len(tested):
        return {}
    return {found.label: found for found in differences(costs[0], costs[1:])}


def chance(found: Difference | None) -> str | None:
    """Why a difference may be chance, as a clause; None where it is more than that.

    Args:
        found: what the test found; None where there was none.
    """
    if found is None:
        return "which may be chance, as there are too few held-out values to test it"
    if not found.is_significant:
        return f"which may be chance ({written(found.p_value)})"
    return None if found.seeds_measured else "but another seed may change it (--seeds 3 shows how much)"


def better_on_held_out(
    chosen: ForecasterErrors, best: ForecasterErrors, found: Difference | None = None
) -> list[Finding]:
    """Another forecaster has the smaller squared error over all horizons, and whether that is more than chance.

    Args:
        chosen: the one that makes the forecast.
        best: the one with the least error.
        found: the difference of the two.
    """
    if not best.overall < chosen.overall:
        return []
    figures = {best.name: best.overall, chosen.name: chosen.overall}
    errors = f"mean squared error {best.overall:.4g} over all horizons, against {chosen.overall:.4g}"
    doubt = chance(found)
    if doubt is None:
        sentence = f"On the held-out values {best.name} is better than {chosen.name} by more than chance: {errors}."
        return [Finding("better", "warning", sentence, figures)]
    sentence = f"On the held-out values {best.name} has the smaller error, {doubt}: {errors}."
    return [Finding("better", "warning", sentence, figures)]


def against_naive(chosen: ForecasterErrors, naive: ForecasterErrors, found: Difference | None = None) -> list[Finding]:
    """The squared error over all horizons is not under that of the best naive forecast, or how much it is.

    Args:
        chosen: the one that makes the forecast; if it is naive itself, nothing is found.
        naive: the best naive one.
        found: the difference of the two.
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
    doubt = chance(found)
    sentence = (
        f"The squared error of {chosen.name} is {less:.0%} less than that of the best naive forecast, {naive.name}"
        f"{'' if doubt is None else f', {doubt}'}."
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
