"""The simple recurrent network."""

from elman.cells.base import Cell, Gates, Hidden, State


class Elman(Cell):
    """The simple recurrent network of Elman (1990), "Finding structure in time".

    h' = tanh(W_x x + b_x + W_h h + b_h)
    """

    name = "elman"
    gates = "h"
    states = "h"

    @staticmethod
    def step(x: Gates, u: Gates, *state: Hidden) -> State:  # noqa: ARG004 - the past enters through u alone
        """One step: (B, H) asks of input and past to ((B, H),)."""
        return ((x + u).tanh(),)
