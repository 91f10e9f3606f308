"""The latent autoregressive model (Zhang et al. 2021, section 8.1): a recurrent cell that reads one value a step."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.cells import CELLS, State
from elman.engines import choose
from elman.forecasting.base import StatefulForecaster
from elman.models.layer import Layer
from elman.rng import torch_generator


class RecurrentForecaster(StatefulForecaster):
    """One layer of a cell, and a linear map from its output to the next value.

        h_t     = cell(W_x x_t + b_x, W_h h_{t-1} + b_h)
        x_{t+1} = W_q h_t + b_q

    Args:
        name: the name in tables.
        cell: the name of a cell, see `elman.cells.CELLS`.
        hidden: units, H.
        seed: of the initial weights.
    """

    def __init__(self, name: str, cell: str, hidden: int, seed: int) -> None:
        super().__init__()
        self.name, self.cell, self.hidden = name, CELLS[cell], hidden
        self.layer = Layer(self.cell, 1, hidden, tokens=False, learn_initial_state=False)
        self.W_q, self.b_q = nn.Parameter(torch.zeros(1, hidden)), nn.Parameter(torch.zeros(1))
        self.double()
        self._begin(torch_generator(seed, "initial weights"))

    @torch.no_grad()
    def _begin(self, rng: torch.Generator) -> None:
        """W_x from N(0, 1), b_x from N(0, 0.1^2), W_h orthogonal for each gate; W_q is 0, so the mean is predicted."""
        self.layer.W_x.normal_(0, 1, generator=rng)
        self.layer.b_x.normal_(0, 0.1, generator=rng)
        for gate in self.layer.W_h.chunk(len(self.cell.gates)):
            nn.init.orthogonal_(gate, generator=rng)

    def initial(self, batch: int) -> State:
        """A state of zeros."""
        return tuple(torch.zeros(batch, self.hidden, dtype=torch.float64) for _ in self.cell.states)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One-step predictions, see `Forecaster`."""
        engine = choose("auto", self.cell, self.W_q.device, self.W_q.dtype, hidden=self.hidden)
        h, after = engine.run(self.cell, inputs[..., None], state, self.layer.weights())
        return F.linear(h, self.W_q, self.b_q)[..., 0], after

    def parameter_count(self) -> int:
        """The number of parameters that are trained."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def operations(self) -> int:
        """Multiplications of one prediction: every W_x and W_h, and the output."""
        return self.layer.W_x.numel() + self.layer.W_h.numel() + self.W_q.numel()
