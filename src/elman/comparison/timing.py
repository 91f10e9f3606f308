"""Interleaved timing of two or more variants of one job, compared by the ratios of their rates in the same round.

The speed of a machine drifts, so the ratio of two rates of one round is more reliable than either rate.
"""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch

from elman.inference.spreads import Quartiles

Work = Callable[[], float]
"""Does some of the job and returns its amount: tokens, or flops."""
Key = TypeVar("Key", bound=Hashable)


def measure_rounds(variants: Mapping[Key, Work], rounds: int) -> Iterator[dict[Key, float]]:
    """Measure every variant once a round, after a warm-up.

    Args:
        variants: the work of each.
        rounds: how many, at least 1.

    Returns:
        For each round the units of work a second of every variant.
    """
    for work in variants.values():
        work()
    for i in range(rounds):
        # Forth and back, so that no variant is always the one that follows another.
        order = list(variants)[:: 1 if i % 2 == 0 else -1]
        rates = {name: _rate(variants[name]) for name in order}
        yield {name: rates[name] for name in variants}


def interleave(variants: Mapping[Key, Work], rounds: int) -> dict[Key, list[float]]:
    """The rates of every variant, round by round.

    Args:
        variants: as for `measure_rounds`.
        rounds: as for `measure_rounds`.
    """
    rates: dict[Key, list[float]] = {name: [] for name in variants}
    for found in measure_rounds(variants, rounds):
        for name, rate in found.items():
            rates[name].append(rate)
    return rates


def _rate(work: Work) -> float:
    started = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - started)


def against(rates: Mapping[str, Sequence[float]], reference: str) -> dict[str, Any]:
    """Quartiles of each variant's rate, and of its ratio to a reference round by round, as JSON values.

    Args:
        rates: units of work a second, round by round, of each variant.
        reference: the name of the variant to divide by.
    """
    return {
        name: {
            "per_second": Quartiles.of(values).to_dict(),
            "ratio": Quartiles.of_ratios(values, rates[reference]).to_dict(),
        }
        for name, values in rates.items()
    }


def repeated(work: Work, times: int) -> Work:
    """Work that repeats another.

    Args:
        work: what is repeated.
        times: how often.
    """
    return lambda: sum(work() for _ in range(times))


def lasting(work: Work, seconds: float) -> Work:
    """Work that repeats another for about some seconds, once at least.

    Args:
        work: what is repeated; it is called twice to find out how long it takes.
        seconds: how long the result is to last.
    """
    work()
    started = time.perf_counter()
    work()
    return repeated(work, max(1, round(seconds / (time.perf_counter() - started))))


def threaded(work: Work, threads: int) -> Work:
    """Work that runs another on a number of PyTorch's threads, and leaves that number set.

    Args:
        work: what runs.
        threads: how many, at least 1.
    """

    def on_threads() -> float:
        torch.set_num_threads(threads)
        return work()

    return on_threads
