"""Long short-term memory."""

from elman.cells.base import Cell, Gates, Hidden, State


class LSTM(Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate of Gers et al. 2000).

    i, f, o = sigmoid(x + u)         input, forget and output gates
    g       = tanh(x_g + u_g)        candidate
    c'      = f * c + i * g          cell state, not an output
    h'      = o * tanh(c')
    """

    name = "lstm"
    gates = "ifgo"
    states = "hc"

    @staticmethod
    def step(x: Gates, u: Gates, *state: Hidden) -> State:
        """One step: pre-activations (B, 4H) of input and state, and (h, c), to (h', c')."""
        _, c = state
        i, f, g, o = (x + u).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
