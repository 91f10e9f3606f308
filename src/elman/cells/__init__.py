"""Recurrent cells, one per file: the equations. Importing this package imports every cell beside it."""

import importlib
import pkgutil

from elman.cells.base import CELLS, Cell, State

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["CELLS", "Cell", "State"]
