"""Published results, measured again: `elman reproduce`.

An experiment is one module of `elman.reproduce.experiments` with an `EXPERIMENT`; a new module is found by itself.
What each promises and gives back is in `elman.reproduce.experiment`. Importing this package registers the batchings
of published programs (`elman.reproduce.batchings`).
"""

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from elman.errors import ConfigError, no_such
from elman.reproduce import batchings as batchings
from elman.reproduce import experiments as _experiments
from elman.reproduce.experiment import Experiment

ALL: Final = "all"


def experiments() -> dict[str, Experiment]:
    """Every experiment by its name, in the order of `Experiment.order`."""
    modules = (import_module(f"{_experiments.__name__}.{m.name}") for m in pkgutil.iter_modules(_experiments.__path__))
    return {e.name: e for e in sorted((m.EXPERIMENT for m in modules), key=lambda e: (e.order, e.name))}


def select(names: Sequence[str]) -> list[Experiment]:
    """The experiments of these names, each once and in order; `all` means every one.

    Raises:
        ConfigError: there is no experiment of a name; the message lists those there are.
    """
    existing = experiments()
    for name in names:
        if name not in (*existing, ALL):
            raise ConfigError(no_such("experiment", name, (*existing, ALL)))
    return [e for e in existing.values() if ALL in names or e.name in names]
