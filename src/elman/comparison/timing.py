"""Two or more ways to do one job, taking turns in one run, compared as ratios of neighbours in time.

A machine's speed drifts, so a rate alone says little; the ratio of two rates of the same round says more.
"""

import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch

Work = Callable[[], float]
"""Does some of the job, and returns how much: tokens, or flops."""
Key = TypeVar("Key", bound=Hashable)


def turns(ways: Mapping[Key, Work], rounds: int) -> Iterator[dict[Key, float]]:
    """Call every way in turn, `rounds` times after a warm-up; yield the units of work a second of each round."""
    for work in ways.values():
        work()
    for i in range(rounds):
        # Forth and back, so that no way is always the one that follows another.
        order = list(ways)[:: 1 if i % 2 == 0 else -1]
        rates = {name: _rate(ways[name]) for name in order}
        yield {name: rates[name] for name in ways}


def interleave(ways: Mapping[Key, Work], rounds: int) -> dict[Key, list[float]]:
    """All rounds of `turns`: the rates of every way, round by round."""
    rates: dict[Key, list[float]] = {name: [] for name in ways}
    for found in turns(ways, rounds):
        for name, rate in found.items():
            rates[name].append(rate)
    return rates


def _rate(work: Work) -> float:
    started = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - started)


class Spread(NamedTuple):
    """Median and quartiles; of a single value, that value."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value.

        Example:
            >>> Spread.of([1, 2, 3, 4, 5, 6, 7])
            Spread(median=4.0, low=2.0, high=6.0)
        """
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4)
        return cls(median, low, high)

    @classmethod
    def ratio(cls, these: Sequence[float], those: Sequence[float]) -> "Spread":
        """The spread of the ratios round by round."""
        return cls.of([a / b for a, b in zip(these, those, strict=True)])

    def written(self, form: str = ".2f") -> str:
        """As text: 1.31 (1.27 to 1.38)."""
        return f"{self.median:{form}} ({self.low:{form}} to {self.high:{form}})"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles as JSON has them."""
    return Spread.of(values)._asdict()


def against(rates: Mapping[str, Sequence[float]], reference: str) -> dict[str, Any]:
    """Each way's rate and its ratio to the reference round by round: median and quartiles, as JSON has them."""
    return {
        name: {"per_second": spread(values), "ratio": Spread.ratio(values, rates[reference])._asdict()}
        for name, values in rates.items()
    }


def repeated(work: Work, times: int) -> Work:
    """The work so many times over, as one."""
    return lambda: sum(work() for _ in range(times))


def lasting(work: Work, seconds: float) -> Work:
    """The work repeated so that it lasts about that long; it is called twice to find out."""
    work()
    started = time.perf_counter()
    work()
    return repeated(work, max(1, round(seconds / (time.perf_counter() - started))))


def threaded(work: Work, threads: int) -> Work:
    """The work on that many threads."""

    def on_threads() -> float:
        torch.set_num_threads(threads)
        return work()

    return on_threads
