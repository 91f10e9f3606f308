"""When the values of a series were taken: stamps become positions on an even grid, and positions become stamps again.

    stamps  2024-01-31  2024-02-29  2024-04-30        positions  0  1  3        at(4) = 2024-05-31

A grid counts days, hours or any other fixed step, weekdays (where no stamp is on a weekend), months, or plain numbers.
"""

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

Stamps = npt.NDArray[Any]
"""(T,): datetime64, or float64 where times are numbers such as years."""
Positions = npt.NDArray[np.int64]

MICROSECONDS: Final = "datetime64[us]"
DAY, HOUR, MINUTE = (np.timedelta64(1, unit) for unit in ("D", "h", "m"))
ROUNDING: Final = 1e-3  # of a step, by which a number may be off its place
WEEKDAYS: Final = 10  # stamps, none of them on a weekend, from which on weekends are no gaps


class Timeline(Protocol):
    """An even grid through the stamps of a series."""

    @property
    def season(self) -> int | None:
        """Steps of the usual cycle: 7 days, 12 months, 24 hours, ...; None where none is usual."""

    def positions(self, stamps: Stamps) -> Positions | None:
        """Where each stamp is, counted from the first in steps; None where one is between two steps."""

    def at(self, position: int) -> str:
        """The stamp at a position, which may lie beyond the data."""


@dataclass(frozen=True)
class Rows:
    """No stamps: the rows themselves, counted from `first`."""

    first: int = 1
    season: int | None = None

    def positions(self, stamps: Stamps) -> Positions:
        """Every row is a step."""
        return np.arange(len(stamps))

    def at(self, position: int) -> str:
        """The number of the row."""
        return str(self.first + position)


@dataclass(frozen=True)
class Over:
    """A grid seen through another."""

    grid: "Timeline"

    @property
    def season(self) -> int | None:
        """That of the grid."""
        return self.grid.season

    def positions(self, stamps: Stamps) -> Positions | None:
        """As the grid has them."""
        return self.grid.positions(stamps)


@dataclass(frozen=True)
class Skipping(Over):
    """A grid of which only some steps are there; what follows the last of them is even again."""

    there: tuple[int, ...]
    """The positions that are, growing."""

    def at(self, position: int) -> str:
        """The stamp of the position-th step that is there, or of one after the last."""
        after = position - len(self.there) + 1
        return self.grid.at(self.there[-1] + after if after > 0 else self.there[position])


@dataclass(frozen=True)
class Utc(Over):
    """A grid of stamps that had time zones, in universal time."""

    def at(self, position: int) -> str:
        """The stamp there, with its zone."""
        stamp = self.grid.at(position)
        return f"{stamp}Z" if "T" in stamp else stamp


@dataclass(frozen=True)
class Numbers:
    """Stamps that are numbers, such as years."""

    first: float
    step: float
    season: int | None = None

    def positions(self, stamps: Stamps) -> Positions | None:
        """Multiples of the step."""
        exact = (stamps - self.first) / self.step
        whole = np.rint(exact)
        return whole.astype(np.int64) if (np.abs(exact - whole) < ROUNDING).all() else None

    def at(self, position: int) -> str:
        """The number there."""
        return written_number(self.first + position * self.step)


@dataclass(frozen=True)
class Instants:
    """Stamps a fixed time apart."""

    first: np.datetime64
    step: np.timedelta64

    @property
    def season(self) -> int | None:
        """A day of hours or minutes, a week of days, a year of weeks."""
        cycles = ((7 * DAY, 52), (DAY, 7), (HOUR, 24), (30 * MINUTE, 48), (15 * MINUTE, 96), (MINUTE, 60))
        return next((season for step, season in cycles if step == self.step), None)

    def positions(self, stamps: Stamps) -> Positions | None:
        """Multiples of the step."""
        apart = (stamps.astype(MICROSECONDS) - self.first).astype(np.int64)
        step = int(self.step.astype("timedelta64[us]").astype(np.int64))
        return None if (apart % step).any() else apart // step

    def at(self, position: int) -> str:
        """The date there, with the time of day where the step is no whole number of days."""
        return _written(self.first + position * self.step, self.first, whole_days=self.step % DAY == np.timedelta64(0))


@dataclass(frozen=True)
class Weekdays:
    """Stamps on Mondays to Fridays, one a day."""

    first: np.datetime64
    season: int | None = 5

    def positions(self, stamps: Stamps) -> Positions | None:
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
        return _written(day.astype(MICROSECONDS) + self._time, self.first, whole_days=True)


@dataclass(frozen=True)
class Months:
    """Stamps on the same day of some months, or on the last."""

    first: np.datetime64
    step: int
    last_day: bool

    @property
    def season(self) -> int | None:
        """A year."""
        return 12 // self.step if 12 % self.step == 0 and self.step < 12 else None

    def positions(self, stamps: Stamps) -> Positions | None:
        """Months since the first, in steps."""
        stamps = stamps.astype(MICROSECONDS)
        months = stamps.astype("datetime64[M]").astype(np.int64)
        apart = months - months[0]
        if (apart % self.step).any() or (self._stamps(apart) != stamps).any():
            return None
        return np.asarray(apart // self.step, np.int64)

    def _stamps(self, apart: Positions) -> npt.NDArray[np.datetime64]:
        """The stamps so many months after the first."""
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
        return _written(self._stamps(np.array([position * self.step]))[0], self.first, whole_days=True)


def timeline(stamps: Stamps) -> Timeline | None:
    """The grid on which all of the stamps lie, which grow; None where they are not even.

    The step is the most frequent distance between neighbours. A single stamp is a grid of days, or of 1.
    """
    for make in (_months, _weekdays, _instants) if stamps.dtype.kind == "M" else (_numbers,):
        grid = make(stamps)
        if grid is not None and grid.positions(stamps) is not None:
            return grid
    return None


def _numbers(stamps: Stamps) -> Timeline | None:
    distances = np.diff(stamps)
    if not len(distances):
        return Numbers(float(stamps[0]), 1.0)
    if distances.max() > 1e9 * distances.min():
        return None
    # Written decimals are not exact: distances that agree to a millionth are one.
    units = np.rint(distances / distances.min() * 1e6).astype(np.int64)
    step = float(distances[units == _usual(units, 0)].mean())
    whole = float(stamps[-1] - stamps[0])
    return Numbers(float(stamps[0]), whole / max(1.0, np.rint(whole / step)))


def _instants(stamps: Stamps) -> Timeline:
    stamps = stamps.astype(MICROSECONDS)
    return Instants(stamps[0], np.timedelta64(int(_usual(np.diff(stamps).astype(np.int64), 86_400_000_000)), "us"))


def _weekdays(stamps: Stamps) -> Timeline | None:
    days = np.diff(stamps.astype("datetime64[D]"))
    daily = len(stamps) >= WEEKDAYS and _usual(days.astype(np.int64), 0) == 1
    return Weekdays(stamps[0].astype(MICROSECONDS)) if daily else None


def _months(stamps: Stamps) -> Timeline | None:
    months = np.diff(stamps.astype("datetime64[M]").astype(np.int64))
    step = int(_usual(months, 0))
    if not step:
        return None
    days = stamps.astype("datetime64[D]")
    last_day = bool(((days + 1).astype("datetime64[M]") > days.astype("datetime64[M]")).all())
    return Months(stamps[0].astype(MICROSECONDS), step, last_day)


def _usual(distances: npt.NDArray[np.generic], otherwise: float) -> float:
    """The most frequent distance; the smallest of several."""
    if not len(distances):
        return otherwise
    values, times = np.unique(distances, return_counts=True)
    return float(values[times.argmax()])


def written_number(number: float) -> str:
    """A number as one writes it: whole ones without a point, others with all of their digits."""
    return str(int(number)) if number == int(number) and abs(number) < 2**53 else f"{number:.15g}"


def _written(stamp: np.datetime64, first: np.datetime64, *, whole_days: bool) -> str:
    """A date, and the time of day where one is needed."""
    midnight = whole_days and first == first.astype("datetime64[D]")
    if midnight:
        return str(stamp.astype("datetime64[D]"))
    return str(stamp.astype("datetime64[s]")) if stamp == stamp.astype("datetime64[s]") else str(stamp)
