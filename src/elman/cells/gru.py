"""The gated recurrent unit."""

from elman.cells.base import Cell, Gates, Hidden, State


class GRU(Cell):
    """The gated recurrent unit (Cho et al. 2014), resetting after the matrix product as cuDNN does.

    r  = sigmoid(x_r + u_r)        reset gate: how much of the state the candidate uses
    z  = sigmoid(x_z + u_z)        update gate: how much of the state is kept
    n  = tanh(x_n + r * u_n)       candidate
    h' = (1 - z) * n + z * h
    """

    name = "gru"
    gates = "rzn"
    states = "h"

    @staticmethod
    def step(x: Gates, u: Gates, *state: Hidden) -> State:
        """One step: pre-activations (B, 3H) of input and state, and h, to ((B, H),)."""
        (h,) = state
        (x_r, x_z, x_n), (u_r, u_z, u_n) = x.chunk(3, -1), u.chunk(3, -1)
        r = (x_r + u_r).sigmoid()
        z = (x_z + u_z).sigmoid()
        n = (x_n + r * u_n).tanh()
        return ((1 - z) * n + z * h,)
