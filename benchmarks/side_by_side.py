"""Two or more ways to do one job, interleaved in one run, compared as ratios pair by pair.

The machine's speed drifts, so a figure alone says little; a ratio of neighbours in time says more.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from elman.environment import environment

RESULTS = Path(__file__).parent / "results"


def interleave(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call every way in turn, `rounds` times after a warm-up; each returns units of work, noted as units a second."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for name in ways:
        ways[name]()
    for i in range(rounds):
        # Forth and back, so that no way is always the one that follows another.
        order = list(ways) if i % 2 == 0 else list(reversed(ways))
        for name in order:
            started = time.perf_counter()
            work = ways[name]()
            rates[name].append(work / (time.perf_counter() - started))
    return rates


def against(rates: Mapping[str, list[float]], reference: str) -> dict[str, Any]:
    """Each way's rate and its ratio to the reference round by round: median and quartiles."""
    return {
        name: {
            "per_second": spread(values),
            "ratio": spread([v / r for v, r in zip(values, rates[reference], strict=True)]),
        }
        for name, values in rates.items()
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "low": low, "high": high}


def write(name: str, result: Any) -> None:
    """Keep the result beside the versions and the command that made it."""
    document = {"command": " ".join(["python", *sys.argv]), "environment": environment(), "result": result}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
