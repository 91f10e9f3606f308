"""The simple recurrent network."""

from elman.cells.base import Cell, Gates, Hidden, State


class Elman(Cell):
    """The simple recurrent network, with a hyperbolic tangent (Elman 1990).

    h' = tanh(W_x x + b_x + W_h h + b_h)
    """

    name = "elman"
    gates = "h"
    states = "h"

    @staticmethod
    def step(x: Gates, u: Gates, *state: Hidden) -> State:  # noqa: ARG004 - the state enters through u alone
        """One step: pre-activations (B, H) of input and state to ((B, H),)."""
        return ((x + u).tanh(),)
