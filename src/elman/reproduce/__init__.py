"""Published results, measured again: `elman reproduce`.

An experiment is one module of `elman.reproduce.experiments` with an `EXPERIMENT`; it is listed in `ORDER` and read as
an example of how elman is used. What each promises and gives back is in `elman.reproduce.experiment`.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Final

from elman.errors import ConfigError, no_such
from elman.reproduce import batchings as batchings
from elman.reproduce.experiment import Experiment

ORDER: Final[tuple[str, ...]] = (
    "lecture", "notes", "recipe", "textbook", "clipping", "schedule", "overfitting",
    "corpus", "smoothing", "markov", "reverse", "sine", "counting", "fooling",
)  # fmt: skip
"""The experiments, in the order in which a reader would take them."""
ALL: Final = "all"


def experiment(name: str) -> Experiment:
    """The experiment of this name.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    if name not in ORDER:
        raise ConfigError(no_such("experiment", name, (*ORDER, ALL)))
    found: Experiment = import_module(f"elman.reproduce.experiments.{name}").EXPERIMENT
    return found


def chosen(names: Sequence[str]) -> list[Experiment]:
    """The experiments of these names, each once and in order; `all` means every one."""
    for name in names:
        if name != ALL:
            experiment(name)
    return [experiment(name) for name in ORDER if ALL in names or name in names]
