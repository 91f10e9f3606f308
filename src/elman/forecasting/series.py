"""A series: values at even steps of time, with a named rule for missing ones."""

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from elman.arguments import checked
from elman.errors import ConfigError, DataError, no_such
from elman.forecasting.renamed import renamed
from elman.forecasting.timeline import (
    DAY,
    HOUR,
    MINUTE,
    GridWithGaps,
    IndexGrid,
    Positions,
    TimeGrid,
    Timestamps,
    format_number,
    infer_grid,
)

Values = npt.NDArray[np.float64]
MAX_SIZE: Final = 1e100  # larger values, and those smaller than its inverse, cannot be squared
MAX_STEPS_PER_ROW: Final = 20  # of more, too much would be filled in
Missing = Literal["refuse", "previous", "linear", "skip"]
MISSING: Final[dict[str, str]] = {
    "refuse": "a missing value is an error that names it",
    "previous": "it is filled with the value before it",
    "linear": "it is filled by linear interpolation",
    "skip": "rows without a value are left out, and the other rows count as evenly spaced",
}
"""The rules for missing values."""


@dataclass(frozen=True, eq=False)
class Series:
    """Values at even steps of time."""

    name: str
    """The name in messages and tables."""
    values: Values
    """(T,), all finite; those that were not observed are filled in."""
    observed: npt.NDArray[np.bool_]
    """Whether each value was observed, (T,). A filled one may be read, but is never a target."""
    timeline: TimeGrid
    """When each value was taken."""
    noise_variance: float | None = None
    """The variance of the noise, which no forecast can predict, where it is known."""
    train_size: int | None = None
    """How many values are for training, where the source has a split of its own."""
    left_out: int = 0
    """Missing values before the first observed one and after the last."""

    known = renamed("known", "observed")
    noise = renamed("noise", "noise_variance")
    cut = renamed("cut", "train_size")

    def __len__(self) -> int:
        return len(self.values)


@checked
def sine(length: int = 1000, noise: float = 0.2, seed: int = 0) -> Series:
    """A sine with noise (Zhang et al. 2021, section 8.1): x_t = sin(0.01 t) + e_t for t = 1, 2, ..., T.

    The first 604 values are for training: 600 examples for a window of 4, as in the source.

    Args:
        length: T, at least 2.
        noise: the standard deviation of e_t, which is normally distributed; 0 or more.
        seed: of the noise.

    Raises:
        ConfigError: fewer than 2 values, or a noise that is negative or not finite.
    """
    if length < 2 or not (noise >= 0 and np.isfinite(noise)):
        raise ConfigError(
            f"a sine of {length} values with noise {noise}: give at least 2 values, and a noise of 0 or more"
        )
    values = np.sin(0.01 * np.arange(1, length + 1)) + np.random.default_rng(seed).normal(0, noise, length)
    cut = 604 if length > 604 else None
    return Series("sine", values, np.ones(length, np.bool_), IndexGrid(), noise**2, cut)


@checked
def series(
    name: str,
    values: npt.ArrayLike,
    stamps: Timestamps | None = None,
    missing: Missing = "refuse",
    rows: Positions | None = None,
) -> Series:
    """Make a series of numbers in the order of time.

    Missing values before the first observed one and after the last are left out. A timestamp that is missing from the
    grid (`elman.forecasting.timeline`) counts as a missing value.

    Args:
        name: the name in messages and tables.
        values: (T,), NaN where one is missing.
        stamps: when each was taken, increasing, (T,); None if every row is a step.
        missing: the rule for missing values, see `MISSING`.
        rows: the row number of each in its table, (T,), for messages; None counts from 1.

    Raises:
        ConfigError: no such rule.
        DataError: an infinite value, all missing, a missing one that the rule refuses, values too large or small to
            be squared, or timestamps that are repeated or not even.
    """
    if missing not in get_args(Missing):
        raise ConfigError(no_such("rule for missing values", missing, MISSING))
    values = _numbers(name, values)
    rows = np.arange(1, len(values) + 1) if rows is None else rows
    if len(rows) != len(values) or (stamps is not None and len(stamps) != len(values)):
        raise DataError(f"{name}: {len(values):,} values with another number of time stamps or rows: give one a value")
    place, given = np.arange(len(values)), len(values)
    for row in rows[np.isinf(values)][:1]:
        raise DataError(
            f"{name}, row {row}: an infinite value; correct it, or leave it empty and give --missing a rule"
        )
    observed = np.flatnonzero(~np.isnan(values))
    if not len(observed):
        raise DataError(f"{name}: none of its {len(values):,} values is a number; leave it out")
    inside = slice(observed[0], observed[-1] + 1)
    values, rows, place, stamps = values[inside], rows[inside], place[inside], _select(stamps, inside)
    largest = np.nanmax(np.abs(values))
    if largest > MAX_SIZE or 0 < largest < 1 / MAX_SIZE:
        row = rows[np.nanargmax(np.abs(values))]
        raise DataError(
            f"{name}, row {row}: {largest:g} is too large or small to compute with; multiply the series by a constant"
        )
    if missing == "refuse":
        _refuse(name, values, rows, stamps)
    if missing == "skip":
        kept = ~np.isnan(values)
        values, rows, place, stamps = values[kept], rows[kept], place[kept], _select(stamps, kept)
    grid: TimeGrid = IndexGrid(int(place[0]) + 1)
    positions: Positions | None = place - place[0]
    if stamps is not None:
        grid, positions = _find_grid(name, stamps, rows, evenly=missing == "skip")
    if positions is not None and missing != "skip":
        values = _with_gaps(name, values, rows, grid, positions, refused=missing == "refuse")
    elif positions is not None and positions[-1] >= len(positions):
        grid = GridWithGaps(grid, tuple(positions.tolist()))
    left_out = given - (inside.stop - inside.start)
    return Series(name, _filled(values, missing), ~np.isnan(values), grid, left_out=int(left_out))


def _numbers(name: str, values: npt.ArrayLike) -> Values:
    """The values as an array of float64, (T,)."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name}: the values are no row of numbers: give a list or an array") from error
    if array.ndim != 1 or (array.dtype.kind not in "iuf" and array.size):
        raise DataError(f"{name}: the values are no row of numbers ({array.ndim} dimensions, type {array.dtype})")
    return array.astype(np.float64, copy=False)


def _select(stamps: Timestamps | None, kept: slice | npt.NDArray[np.bool_]) -> Timestamps | None:
    return None if stamps is None else stamps[kept]


def _refuse(name: str, values: Values, rows: Positions, stamps: Timestamps | None) -> None:
    missing = np.flatnonzero(np.isnan(values))
    if len(missing):
        at = missing[0]
        when = "" if stamps is None else f" ({_format_stamp(stamps[at])})"
        more = f", the first of {len(missing):,} like it" if len(missing) > 1 else ""
        raise DataError(f"{name}, row {rows[at]}{when}: the value is missing{more}; {_RULES}")


_RULES = "fill it in, or give --missing previous, linear or skip"


def _find_grid(name: str, stamps: Timestamps, rows: Positions, *, evenly: bool) -> tuple[TimeGrid, Positions | None]:
    """The grid of increasing timestamps, and their positions on it."""
    step = np.diff(stamps)
    for i in np.flatnonzero(step == step.dtype.type(0))[:1]:
        raise DataError(
            f"{name}, rows {rows[i]} and {rows[i + 1]}: {_format_stamp(stamps[i])} occurs twice; keep one of them, "
            "or name the column that tells the series apart with --id"
        )
    grid = infer_grid(stamps)
    if grid is not None:
        return grid, grid.positions(stamps)
    if evenly:
        return IndexGrid(), None
    values, times = np.unique(step, return_counts=True)
    usual = values[times.argmax()]
    i = int(np.flatnonzero(step != usual)[0])
    raise DataError(
        f"{name}, rows {rows[i]} and {rows[i + 1]}: from {_format_stamp(stamps[i])} to {_format_stamp(stamps[i + 1])} "
        f"is neither the usual step of {_format_step(usual)} nor a multiple of it; "
        "--missing skip takes the rows as evenly spaced"
    )


def _format_stamp(stamp: Any) -> str:
    if isinstance(stamp, np.datetime64):
        midnight = stamp == stamp.astype("datetime64[D]")
        return str(np.datetime_as_string(stamp, unit="D" if midnight else "s"))
    return format_number(float(stamp))


def _format_step(step: Any) -> str:
    if not isinstance(step, np.timedelta64):
        return format_number(float(step))
    for unit, name in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if step >= unit:
            return f"{step / unit:g} {name}"
    return f"{step / MINUTE * 60:g} seconds"


def _with_gaps(
    name: str, values: Values, rows: Positions, grid: TimeGrid, positions: Positions, *, refused: bool
) -> Values:
    """The values at every step of the grid, NaN where the table has no row."""
    steps = int(positions[-1] + 1)
    wide = np.flatnonzero(np.diff(positions) > 1)
    if len(wide) and (refused or steps > MAX_STEPS_PER_ROW * len(positions)):
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
    """The values with the missing ones filled in; the first and the last are observed."""
    observed = np.flatnonzero(~np.isnan(values))
    if missing == "linear":
        return np.interp(np.arange(len(values)), observed, values[observed])
    last = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))))
    return values[last]
