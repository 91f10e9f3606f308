"""Spreads of a figure that was measured several times: quartiles over rounds, the range over seeds.

JSON has both as `median`, `low` and `high`; what low and high are is a matter of the class.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Quartiles(NamedTuple):
    """Median and quartiles of rounds of one benchmark; of a single round, that value three times.

    Args:
        median: the second quartile.
        lower: the first quartile.
        upper: the third quartile.
    """

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Quartiles":
        """The quartiles of at least one value.

        Example:
            >>> Quartiles.of([1, 2, 3, 4, 5, 6, 7])
            Quartiles(median=4.0, lower=2.0, upper=6.0)
        """
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        lower, median, upper = statistics.quantiles(values, n=4)
        return cls(median, lower, upper)

    @classmethod
    def of_ratios(cls, these: Sequence[float], those: Sequence[float]) -> "Quartiles":
        """The quartiles of the ratios round by round.

        Args:
            these: the numerators, one a round.
            those: the denominators, of the same rounds.
        """
        return cls.of([a / b for a, b in zip(these, those, strict=True)])

    @classmethod
    def from_dict(cls, found: Mapping[str, float]) -> "Quartiles":
        """What `to_dict` made."""
        return cls(found["median"], found["low"], found["high"])

    def to_dict(self) -> dict[str, float]:
        """As JSON values."""
        return {"median": self.median, "low": self.lower, "high": self.upper}

    def written(self, form: str = ".2f") -> str:
        """As text: 1.31 (1.27 to 1.38)."""
        return f"{self.median:{form}} ({self.lower:{form}} to {self.upper:{form}})"


class SeedRange(NamedTuple):
    """Median, minimum and maximum of a figure over seeds.

    Args:
        median: of all seeds.
        minimum: of all seeds.
        maximum: of all seeds.
    """

    median: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "SeedRange":
        """The range of at least one value.

        Example:
            >>> SeedRange.of([4.0, 5.0, 9.0])
            SeedRange(median=5.0, minimum=4.0, maximum=9.0)
        """
        return cls(statistics.median(values), min(values), max(values))

    def to_dict(self) -> dict[str, float]:
        """As JSON values."""
        return {"median": self.median, "low": self.minimum, "high": self.maximum}

    def written(self, form: str) -> str:
        """The median, and the range where it is not one number: 4.10 (4.00..5.00); `form` is that of each number."""
        low, middle, high = (number(value, form) for value in (self.minimum, self.median, self.maximum))
        return middle if low == high else f"{middle} ({low}..{high})"


def number(value: float, form: str) -> str:
    """A number as text; of two decimals, none from 1,000 on.

    Args:
        value: the number.
        form: as of `format`.

    Example:
        >>> number(12.345, ".2f"), number(12345.678, ".2f")
        ('12.35', '12,346')
    """
    return format(value, ",.0f" if form == ".2f" and 1000 <= value < math.inf else form)
