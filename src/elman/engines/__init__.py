"""Engines run a cell over a sequence, one per file. All are tested equal to `loop`, the definition."""

import importlib
import pkgutil

import torch

from elman.cells import Cell
from elman.engines.base import ENGINES, Engine, Stack, TokenSampler, Weights
from elman.errors import ConfigError, no_such

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["ENGINES", "Engine", "Stack", "TokenSampler", "Weights", "choose"]


def choose(
    name: str,
    cell: type[Cell],
    device: torch.device,
    dtype: torch.dtype,
    *,
    one_hot: int = 0,
    hidden: int = 0,
) -> type[Engine]:
    """Find the engine of a name, or for "auto" the one that supports the cell and has the highest priority.

    Args:
        name: "auto" or a name in `ENGINES`.
        cell: the cell to run.
        device: where the weights are.
        dtype: their precision.
        one_hot: V, where the first layer reads one-hot tokens; else 0.
        hidden: H of the first layer.

    Returns:
        The engine; for "auto" never one that rounds more than `loop` does, as native-bfloat16.

    Raises:
        ConfigError: no such engine, or it does not support this cell, device or precision.
    """
    if name == "auto":
        ranked = [
            (rank, engine)
            for engine in ENGINES.values()
            if (rank := engine.priority(cell, one_hot=one_hot, hidden=hidden)) is not None
            and engine.supports(cell, device, dtype)
        ]
        return max(ranked, key=lambda pair: pair[0])[1]
    if name not in ENGINES:
        raise ConfigError(no_such("engine", name, ["auto", *sorted(ENGINES)]))
    if not ENGINES[name].supports(cell, device, dtype):
        needs = f" (it needs {ENGINES[name].needs})" if ENGINES[name].needs else ""
        raise ConfigError(f"engine {name!r} cannot run cell {cell.name!r} on {device.type} in {dtype}{needs}: use loop")
    return ENGINES[name]
