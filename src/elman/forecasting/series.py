"""A series: numbers in the order of time, on an even grid, with every gap named and filled by a rule that is named."""

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from elman.errors import ConfigError, DataError, no_such
from elman.forecasting.timeline import (
    DAY,
    HOUR,
    MINUTE,
    Positions,
    Rows,
    Skipping,
    Stamps,
    Timeline,
    timeline,
    written_number,
)

Values = npt.NDArray[np.float64]
LARGEST: Final = 1e100  # what is larger, or smaller than its inverse, overflows when it is squared
WIDEST: Final = 20  # steps a row: where there are more, rows are not what a rule should make up
Missing = Literal["refuse", "previous", "linear", "skip"]
MISSING: Final[dict[str, str]] = {
    "refuse": "a missing value is an error that names it",
    "previous": "the value before it stands in",
    "linear": "a straight line between its neighbours stands in",
    "skip": "rows without a value are left out, and those that are left count as evenly spaced",
}
"""What may happen to missing values."""


@dataclass(frozen=True, eq=False)
class Series:
    """Values at even steps of time."""

    name: str
    values: Values
    """(T,), all finite; where `known` is False, filled in."""
    known: npt.NDArray[np.bool_]
    """(T,): whether a value was observed. A filled one may be read, but nothing is ever scored against it."""
    timeline: Timeline
    """When each value was taken."""
    noise: float | None = None
    """The variance of the noise that nothing can predict, where it is known."""
    cut: int | None = None
    """How many of the values are for training, where the source has a split of its own."""
    left_out: int = 0
    """Missing values before the first known one and after the last."""

    def __len__(self) -> int:
        return len(self.values)


def sine(length: int = 1000, noise: float = 0.2, seed: int = 0) -> Series:
    """The series of the lecture: x_t = sin(0.01 t) + e_t for t = 1, 2, ..., e_t from N(0, noise^2) (S77).

    Of its values the first 604 are for training: 600 examples for a window of 4, as there.

    Raises:
        ConfigError: fewer than 2 values, or a noise that is negative or no number.
    """
    if length < 2 or not (noise >= 0 and np.isfinite(noise)):
        raise ConfigError(f"sine of {length} values with noise {noise}: give at least 2 values, and noise of 0 or more")
    values = np.sin(0.01 * np.arange(1, length + 1)) + np.random.default_rng(seed).normal(0, noise, length)
    cut = 604 if length > 604 else None
    return Series("sine", values, np.ones(length, np.bool_), Rows(), noise**2, cut)


def series(
    name: str,
    values: Values,
    stamps: Stamps | None = None,
    missing: Missing = "refuse",
    rows: Positions | None = None,
) -> Series:
    """A series out of numbers in the order of time, NaN where one is missing.

    Missing values before the first and after the last known one are left out. A stamp that is missing from the grid
    (`elman.forecasting.timeline`) is a missing value.

    Args:
        name: what messages and tables call it.
        values: (T,)
        stamps: when each was taken, growing; None for rows that are steps.
        missing: what to do where one is missing, see `MISSING`.
        rows: the number of each in its table, for messages.

    Raises:
        ConfigError: no such rule.
        DataError: an infinite value, all missing, a missing one that the rule refuses, values too large or small to
            be squared, or stamps that are twice there or not even.
    """
    if missing not in get_args(Missing):
        raise ConfigError(no_such("rule for missing values", missing, MISSING))
    rows = np.arange(1, len(values) + 1) if rows is None else rows
    place, given = np.arange(len(values)), len(values)
    for row in rows[np.isinf(values)][:1]:
        raise DataError(
            f"{name}, row {row}: an infinite value; correct it, or leave it empty and give --missing a rule"
        )
    there = np.flatnonzero(~np.isnan(values))
    if not len(there):
        raise DataError(f"{name}: none of its {len(values):,} values is a number; leave it out")
    inside = slice(there[0], there[-1] + 1)
    values, rows, place, stamps = values[inside], rows[inside], place[inside], _taken(stamps, inside)
    largest = np.nanmax(np.abs(values))
    if largest > LARGEST or 0 < largest < 1 / LARGEST:
        row = rows[np.nanargmax(np.abs(values))]
        raise DataError(f"{name}, row {row}: {largest:g} is too large or small to compute with; scale the series")
    if missing == "refuse":
        _refuse(name, values, rows, stamps)
    if missing == "skip":
        kept = ~np.isnan(values)
        values, rows, place, stamps = values[kept], rows[kept], place[kept], _taken(stamps, kept)
    grid: Timeline = Rows(int(place[0]) + 1)
    positions: Positions | None = place - place[0]
    if stamps is not None:
        grid, positions = _placed(name, stamps, rows, evenly=missing == "skip")
    if positions is not None and missing != "skip":
        values = _gaps_opened(name, values, rows, grid, positions, refused=missing == "refuse")
    elif positions is not None and positions[-1] >= len(positions):
        grid = Skipping(grid, tuple(positions.tolist()))
    left_out = given - (inside.stop - inside.start)
    return Series(name, _filled(values, missing), ~np.isnan(values), grid, left_out=int(left_out))


def _taken(stamps: Stamps | None, kept: slice | npt.NDArray[np.bool_]) -> Stamps | None:
    return None if stamps is None else stamps[kept]


def _refuse(name: str, values: Values, rows: Positions, stamps: Stamps | None) -> None:
    missing = np.flatnonzero(np.isnan(values))
    if len(missing):
        at = missing[0]
        when = "" if stamps is None else f" ({_shown(stamps[at])})"
        more = f", the first of {len(missing):,} like it" if len(missing) > 1 else ""
        raise DataError(f"{name}, row {rows[at]}{when}: the value is missing{more}; {_RULES}")


_RULES = "fill it in, or give --missing previous, linear or skip"


def _placed(name: str, stamps: Stamps, rows: Positions, *, evenly: bool) -> tuple[Timeline, Positions | None]:
    """The grid of stamps that grow, and where they are on it."""
    step = np.diff(stamps)
    for i in np.flatnonzero(step == step.dtype.type(0))[:1]:
        raise DataError(
            f"{name}, rows {rows[i]} and {rows[i + 1]}: {_shown(stamps[i])} is there twice; keep one of them, "
            "or name the column that tells the series apart with --id"
        )
    grid = timeline(stamps)
    if grid is not None:
        return grid, grid.positions(stamps)
    if evenly:
        return Rows(), None
    values, times = np.unique(step, return_counts=True)
    usual = values[times.argmax()]
    i = int(np.flatnonzero(step != usual)[0])
    raise DataError(
        f"{name}, rows {rows[i]} and {rows[i + 1]}: from {_shown(stamps[i])} to {_shown(stamps[i + 1])} is neither the "
        f"usual step of {_long(usual)} nor a multiple of it; --missing skip takes the rows as evenly spaced"
    )


def _shown(stamp: Any) -> str:
    if isinstance(stamp, np.datetime64):
        midnight = stamp == stamp.astype("datetime64[D]")
        return str(np.datetime_as_string(stamp, unit="D" if midnight else "s"))
    return written_number(float(stamp))


def _long(step: Any) -> str:
    if not isinstance(step, np.timedelta64):
        return written_number(float(step))
    for unit, name in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if step >= unit:
            return f"{step / unit:g} {name}"
    return f"{step / MINUTE * 60:g} seconds"


def _gaps_opened(
    name: str, values: Values, rows: Positions, grid: Timeline, positions: Positions, *, refused: bool
) -> Values:
    """The values at every step of the grid, NaN where the table has no row."""
    steps = int(positions[-1] + 1)
    wide = np.flatnonzero(np.diff(positions) > 1)
    if len(wide) and (refused or steps > WIDEST * len(positions)):
        i = wide[0]
        at, lost = grid.at(int(positions[i] + 1)), steps - len(positions)
        raise DataError(
            f"{name}, between rows {rows[i]} and {rows[i + 1]}: {at} is missing, one of {lost:,} such rows; "
            f"{_RULES.replace('fill it in', 'add them')}"
        )
    whole = np.full(steps, np.nan)
    whole[positions] = values
    return whole


def _filled(values: Values, missing: Missing) -> Values:
    """The values with the missing ones filled in; the first and the last are known."""
    known = np.flatnonzero(~np.isnan(values))
    if missing == "linear":
        return np.interp(np.arange(len(values)), known, values[known])
    last = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))))
    return values[last]
