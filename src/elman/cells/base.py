"""What a recurrent cell is: a pure function of one time step, and two facts about its shape.

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
"""Every cell by the name that a user types."""


class Cell(ABC):
    """One step of a recurrence, given the two linear maps that the layer has already applied.

        x = W_x x_t + b_x     what the input asks of every gate,   (B, G*H)
        u = W_h h   + b_h     what the past asks of every gate,    (B, G*H)

    A cell owns no parameters and knows no device: that is why every engine can run it.
    """

    name: ClassVar[str]
    """What a user types to choose it."""
    gates: ClassVar[str]
    """One letter a gate, in the order in which W_x and W_h stack them (PyTorch's order)."""
    states: ClassVar[str]
    """One letter a state; the first is the output h."""

    def __init_subclass__(cls) -> None:
        CELLS[cls.name] = cls

    @staticmethod
    @abstractmethod
    def step(x: Gates, u: Gates, *state: Hidden) -> State:
        """The state after this step, (B, H) each; its first member is the output."""
