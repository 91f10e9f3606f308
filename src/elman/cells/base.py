"""The base class of recurrent cells: a pure function of one time step, and the names of its gates and states.

The letters of every equation in elman:

    B batch    T time (steps of a window)    V vocabulary    I inputs    H hidden units    G gates
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

Gates = Float[Tensor, "B GH"]
Hidden = Float[Tensor, "B H"]
State = tuple[Tensor, ...]
"""The state of a model or a cell: tensors whose first dimension is the batch; a cell's output h comes first."""

CELLS: dict[str, type["Cell"]] = {}
"""Every cell by name; a subclass of `Cell` adds itself."""


class Cell(ABC):
    """One time step of a recurrence, given the two affine maps that the layer has already applied.

        x = W_x x_t + b_x     input pre-activations of all gates,        (B, G*H)
        u = W_h h   + b_h     recurrent pre-activations of all gates,    (B, G*H)

    A cell has no parameters and no device: that is why every engine can run it. A subclass with the three class
    attributes and `step` can be chosen by its name everywhere.

    Example:
        >>> class Sum(Cell):
        ...     name, gates, states = "sum", "h", "h"
        ...
        ...     @staticmethod
        ...     def step(x, u, *state):
        ...         return (x + u,)
        >>> CELLS.pop("sum").__name__  # and away again
        'Sum'
    """

    name: ClassVar[str]
    """The name by which it is chosen."""
    gates: ClassVar[str]
    """One letter per gate, in the order in which W_x and W_h stack them (PyTorch's order)."""
    states: ClassVar[str]
    """One letter per state tensor; the first is the output h."""

    def __init_subclass__(cls) -> None:
        CELLS[cls.name] = cls

    @staticmethod
    @abstractmethod
    def step(x: Gates, u: Gates, *state: Hidden) -> State:
        """Compute the state after one time step.

        Args:
            x: input pre-activations W_x x_t + b_x, (B, G*H), the gates in the order of `gates`.
            u: recurrent pre-activations W_h h + b_h, (B, G*H).
            *state: the state before the step, (B, H) per letter of `states`.

        Returns:
            The state after the step, (B, H) per letter of `states`; the first is the output.
        """
