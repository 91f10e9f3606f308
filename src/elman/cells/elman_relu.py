"""The simple recurrent network with a rectifier in place of the hyperbolic tangent."""

from elman.cells.base import Cell, Gates, Hidden, State


class ElmanReLU(Cell):
    """The simple recurrent network with a rectifier, which is unbounded (Le et al. 2015).

    h' = max(0, W_x x + b_x + W_h h + b_h)
    """

    name = "elman-relu"
    gates = "h"
    states = "h"

    @staticmethod
    def step(x: Gates, u: Gates, *state: Hidden) -> State:  # noqa: ARG004 - the state enters through u alone
        """One step: pre-activations (B, H) of input and state to ((B, H),)."""
        return ((x + u).relu(),)
