"""When the values of a series were taken: timestamps become positions on an even grid, and positions timestamps again.

    timestamps  2024-01-31  2024-02-29  2024-04-30      positions  0  1  3      at(4) = 2024-05-31

A grid counts days, hours or any other fixed step, weekdays (if no timestamp is on a weekend), months, or numbers.
"""

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

Timestamps = npt.NDArray[Any]
"""(T,): datetime64, or float64 where times are numbers such as years."""
Positions = npt.NDArray[np.int64]

MICROSECONDS: Final = "datetime64[us]"
DAY, HOUR, MINUTE = (np.timedelta64(1, unit) for unit in ("D", "h", "m"))
ROUNDING: Final = 1e-3  # of a step, by which a number may be off the grid
MIN_WEEKDAYS: Final = 10  # timestamps without a weekend, from which on weekends are no gaps


class TimeGrid(Protocol):
    """An even grid through the timestamps of a series."""

    @property
    def season(self) -> int | None:
        """Steps of the usual cycle: 7 days, 12 months, 24 hours, ...; None where none is usual."""

    def positions(self, stamps: Timestamps) -> Positions | None:
        """The position of each timestamp in steps from the first, (T,); None if one is between two steps."""

    def at(self, position: int) -> str:
        """The timestamp at a position, which may lie beyond the data."""


@dataclass(frozen=True)
class IndexGrid:
    """The grid of a series without timestamps: row numbers, counted from `first`."""

    first: int = 1
    """The number of the first row."""
    season: int | None = None
    """Steps of a cycle: not known."""

    def positions(self, stamps: Timestamps) -> Positions:
        """0, 1, 2, ...: every row is a step."""
        return np.arange(len(stamps))

    def at(self, position: int) -> str:
        """The number of the row."""
        return str(self.first + position)


@dataclass(frozen=True)
class GridWrapper:
    """A grid that changes another one; it has its season and its positions."""

    grid: TimeGrid
    """The other grid."""

    @property
    def season(self) -> int | None:
        """The season of the grid."""
        return self.grid.season

    def positions(self, stamps: Timestamps) -> Positions | None:
        """The positions on the grid."""
        return self.grid.positions(stamps)


@dataclass(frozen=True)
class GridWithGaps(GridWrapper):
    """A grid of which only some steps count; after the last of them every step counts again."""

    present: tuple[int, ...]
    """The positions of those that count on the grid, increasing."""

    def at(self, position: int) -> str:
        """The timestamp of the position-th step that counts, or of one after the last."""
        after = position - len(self.present) + 1
        return self.grid.at(self.present[-1] + after if after > 0 else self.present[position])


@dataclass(frozen=True)
class UtcGrid(GridWrapper):
    """A grid of timestamps that had time zones, in UTC."""

    def at(self, position: int) -> str:
        """The timestamp there, with Z where it has a time of day."""
        stamp = self.grid.at(position)
        return f"{stamp}Z" if "T" in stamp else stamp


@dataclass(frozen=True)
class NumberGrid:
    """A grid of numbers, such as years."""

    first: float
    """The first number."""
    step: float
    """The distance between neighbours."""
    season: int | None = None
    """Steps of a cycle: not known."""

    def positions(self, stamps: Timestamps) -> Positions | None:
        """Multiples of the step."""
        exact = (stamps - self.first) / self.step
        whole = np.rint(exact)
        return whole.astype(np.int64) if (np.abs(exact - whole) < ROUNDING).all() else None

    def at(self, position: int) -> str:
        """The number there."""
        return format_number(self.first + position * self.step)


@dataclass(frozen=True)
class FixedStepGrid:
    """A grid of timestamps with a fixed time between them."""

    first: np.datetime64
    """The first timestamp."""
    step: np.timedelta64
    """The time between neighbours."""

    @property
    def season(self) -> int | None:
        """A day of hours or minutes, a week of days, a year of weeks."""
        cycles = ((7 * DAY, 52), (DAY, 7), (HOUR, 24), (30 * MINUTE, 48), (15 * MINUTE, 96), (MINUTE, 60))
        return next((season for step, season in cycles if step == self.step), None)

    def positions(self, stamps: Timestamps) -> Positions | None:
        """Multiples of the step."""
        apart = (stamps.astype(MICROSECONDS) - self.first).astype(np.int64)
        step = int(self.step.astype("timedelta64[us]").astype(np.int64))
        return None if (apart % step).any() else apart // step

    def at(self, position: int) -> str:
        """The date there, with the time of day where the step is no whole number of days."""
        return _format_date(
            self.first + position * self.step, self.first, whole_days=self.step % DAY == np.timedelta64(0)
        )


@dataclass(frozen=True)
class WeekdayGrid:
    """A grid of Mondays to Fridays, one timestamp a day."""

    first: np.datetime64
    """The first timestamp."""
    season: int | None = 5
    """Steps of a cycle: a week."""

    def positions(self, stamps: Timestamps) -> Positions | None:
        """Weekdays since the first."""
        days = stamps.astype("datetime64[D]")
        if not np.is_busday(days).all() or (stamps.astype(MICROSECONDS) - days != self._time).any():
            return None
        return np.asarray(np.busday_count(self.first.astype("datetime64[D]"), days), np.int64)

    @property
    def _time(self) -> np.timedelta64:
        time: np.timedelta64 = self.first - self.first.astype("datetime64[D]")
        return time

    def at(self, position: int) -> str:
        """The weekday there."""
        day = np.busday_offset(self.first.astype("datetime64[D]"), position)
        return _format_date(day.astype(MICROSECONDS) + self._time, self.first, whole_days=True)


@dataclass(frozen=True)
class MonthGrid:
    """A grid of one day in every `step` months: the same day, or the last."""

    first: np.datetime64
    """The first timestamp."""
    step: int
    """Months between neighbours."""
    last_day: bool
    """Whether all timestamps are on the last day of a month."""

    @property
    def season(self) -> int | None:
        """A year."""
        return 12 // self.step if 12 % self.step == 0 and self.step < 12 else None

    def positions(self, stamps: Timestamps) -> Positions | None:
        """Months since the first, in steps."""
        stamps = stamps.astype(MICROSECONDS)
        months = stamps.astype("datetime64[M]").astype(np.int64)
        apart = months - months[0]
        if (apart % self.step).any() or (self._stamps(apart) != stamps).any():
            return None
        return np.asarray(apart // self.step, np.int64)

    def _stamps(self, apart: Positions) -> npt.NDArray[np.datetime64]:
        """The timestamps that many months after the first."""
        month = self.first.astype("datetime64[M]")
        begins = (month + apart).astype(MICROSECONDS)
        if not self.last_day:  # a 30th of February is the last of it
            time = self.first - self.first.astype("datetime64[D]")
            ends = (month + apart + 1).astype(MICROSECONDS) - DAY + time
            return np.asarray(np.minimum(begins + (self.first - month.astype(MICROSECONDS)), ends))
        before_next = (month + 1).astype(MICROSECONDS) - self.first
        return np.asarray((month + apart + 1).astype(MICROSECONDS) - before_next)

    def at(self, position: int) -> str:
        """The date there."""
        return _format_date(self._stamps(np.array([position * self.step]))[0], self.first, whole_days=True)


def infer_grid(stamps: Timestamps) -> TimeGrid | None:
    """The even grid on which all timestamps lie.

    The step is the most frequent distance between neighbours. A single timestamp has a grid of days, or of step 1.

    Args:
        stamps: increasing, (T,).

    Returns:
        The grid; None if there is none.
    """
    for make in (_months, _weekdays, _instants) if stamps.dtype.kind == "M" else (_numbers,):
        grid = make(stamps)
        if grid is not None and grid.positions(stamps) is not None:
            return grid
    return None


def _numbers(stamps: Timestamps) -> TimeGrid | None:
    distances = np.diff(stamps)
    if not len(distances):
        return NumberGrid(float(stamps[0]), 1.0)
    if distances.max() > 1e9 * distances.min():
        return None
    # Decimal fractions are not exact: distances that differ by less than a millionth count as equal.
    units = np.rint(distances / distances.min() * 1e6).astype(np.int64)
    step = float(distances[units == _most_frequent(units, 0)].mean())
    whole = float(stamps[-1] - stamps[0])
    return NumberGrid(float(stamps[0]), whole / max(1.0, np.rint(whole / step)))


def _instants(stamps: Timestamps) -> TimeGrid:
    stamps = stamps.astype(MICROSECONDS)
    return FixedStepGrid(
        stamps[0], np.timedelta64(int(_most_frequent(np.diff(stamps).astype(np.int64), 86_400_000_000)), "us")
    )


def _weekdays(stamps: Timestamps) -> TimeGrid | None:
    days = np.diff(stamps.astype("datetime64[D]"))
    daily = len(stamps) >= MIN_WEEKDAYS and _most_frequent(days.astype(np.int64), 0) == 1
    return WeekdayGrid(stamps[0].astype(MICROSECONDS)) if daily else None


def _months(stamps: Timestamps) -> TimeGrid | None:
    months = np.diff(stamps.astype("datetime64[M]").astype(np.int64))
    step = int(_most_frequent(months, 0))
    if not step:
        return None
    days = stamps.astype("datetime64[D]")
    last_day = bool(((days + 1).astype("datetime64[M]") > days.astype("datetime64[M]")).all())
    return MonthGrid(stamps[0].astype(MICROSECONDS), step, last_day)


def _most_frequent(distances: npt.NDArray[np.generic], otherwise: float) -> float:
    """The most frequent distance; the smallest of several."""
    if not len(distances):
        return otherwise
    values, times = np.unique(distances, return_counts=True)
    return float(values[times.argmax()])


def format_number(number: float) -> str:
    """A number as text: whole ones without a point, others with all of their digits."""
    return str(int(number)) if number == int(number) and abs(number) < 2**53 else f"{number:.15g}"


def _format_date(stamp: np.datetime64, first: np.datetime64, *, whole_days: bool) -> str:
    """A date, and the time of day where one is needed."""
    midnight = whole_days and first == first.astype("datetime64[D]")
    if midnight:
        return str(stamp.astype("datetime64[D]"))
    return str(stamp.astype("datetime64[s]")) if stamp == stamp.astype("datetime64[s]") else str(stamp)
