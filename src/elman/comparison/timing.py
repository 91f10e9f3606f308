"""Two or more ways to do one job, taking turns in one run, compared as ratios of neighbours in time.

A machine's speed drifts, so a rate alone says little; the ratio of two rates of the same round says more.
"""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch

from elman.inference.spreads import Quartiles

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


def against(rates: Mapping[str, Sequence[float]], reference: str) -> dict[str, Any]:
    """Each way's rate and its ratio to the reference round by round: median and quartiles, as JSON has them."""
    return {
        name: {
            "per_second": Quartiles.of(values).to_json(),
            "ratio": Quartiles.of_ratios(values, rates[reference]).to_json(),
        }
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
