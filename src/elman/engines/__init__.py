"""Engines run a cell over a sequence, one a file: the speed. All are tested equal to `loop`, the definition."""

import importlib
import pkgutil

import torch

from elman.cells import Cell
from elman.engines.base import ENGINES, Engine, Sampler, Stack, Weights
from elman.errors import ConfigError, no_such

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["ENGINES", "Engine", "Sampler", "Stack", "Weights", "choose"]


def choose(
    name: str,
    cell: type[Cell],
    device: torch.device,
    dtype: torch.dtype,
    *,
    one_hot: int = 0,
    hidden: int = 0,
) -> type[Engine]:
    """The engine of that name, or for "auto" the fastest that supports the cell there.

    "auto" never takes one that rounds more than `loop` does, as native-bfloat16.
    Measured on CPUs: the compiled engine wins everywhere, in single precision and where it was built. Without it the
    written-out gradients win for Elman and GRU; oneDNN's LSTM wins unless the one-hot product that it cannot skip
    (`one_hot` = V, against `hidden` = H) outweighs it.

    Raises:
        ConfigError: no such engine, or it does not support this cell, device or precision.
    """
    if name == "auto":
        lookup_wins = cell.name != "lstm" or one_hot > hidden
        order = ("native", "bptt", "aten", "loop") if lookup_wins else ("native", "aten", "bptt", "loop")
        return next(e for e in map(ENGINES.__getitem__, order) if e.supports(cell, device, dtype))
    if name not in ENGINES:
        raise ConfigError(no_such("engine", name, ["auto", *sorted(ENGINES)]))
    if not ENGINES[name].supports(cell, device, dtype):
        needs = f" (it needs {ENGINES[name].needs})" if ENGINES[name].needs else ""
        raise ConfigError(f"engine {name!r} cannot run cell {cell.name!r} on {device.type} in {dtype}{needs}: use loop")
    return ENGINES[name]
