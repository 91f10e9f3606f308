"""The latent autoregression (S16): a recurrent cell that reads a series value by value."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.cells import CELLS, State
from elman.engines import choose
from elman.forecasting.base import Stateful
from elman.models.layer import Layer
from elman.rng import torch_generator


class Recurrent(Stateful):
    """One layer of a cell, and a linear map from its output to the next value.

        h_t     = cell(W_x x_t + b_x, W_h h_{t-1} + b_h)
        x_{t+1} = W_q h_t + b_q

    Args:
        name: what tables call it.
        cell: the name of a cell, see `elman.cells.CELLS`.
        hidden: units, H.
        seed: of the initial weights.
    """

    def __init__(self, name: str, cell: str, hidden: int, seed: int) -> None:
        super().__init__()
        self.name, self.cell, self.hidden = name, CELLS[cell], hidden
        self.layer = Layer(self.cell, 1, hidden, tokens=False, learn_initial=False)
        self.W_q, self.b_q = nn.Parameter(torch.zeros(1, hidden)), nn.Parameter(torch.zeros(1))
        self.double()
        self._begin(torch_generator(seed, "initial weights"))

    @torch.no_grad()
    def _begin(self, rng: torch.Generator) -> None:
        """Inputs that are heard, a past that is kept, and the mean as the first guess."""
        self.layer.W_x.normal_(0, 1, generator=rng)
        self.layer.b_x.normal_(0, 0.1, generator=rng)
        for gate in self.layer.W_h.chunk(len(self.cell.gates)):
            nn.init.orthogonal_(gate, generator=rng)

    def initial(self, batch: int) -> State:
        """Zeros."""
        return tuple(torch.zeros(batch, self.hidden, dtype=torch.float64) for _ in self.cell.states)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """The value expected after each of inputs (B, T), and the state after the last."""
        engine = choose("auto", self.cell, self.W_q.device, self.W_q.dtype, hidden=self.hidden)
        h, after = engine.run(self.cell, inputs[..., None], state, self.layer.weights())
        return F.linear(h, self.W_q, self.b_q)[..., 0], after

    def parameter_count(self) -> int:
        """How many numbers training changes."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def operations(self) -> int:
        """Of every W_x and W_h and of the output."""
        return self.layer.W_x.numel() + self.layer.W_h.numel() + self.W_q.numel()
