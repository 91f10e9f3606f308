"""One layer of a recurrent network: its parameters, and the parts that may stand around its cell."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.cells import Cell, State
from elman.engines import Weights

MOST_ROUNDS = 16


class Mogrifier(nn.Module):
    """Input and state gate each other, in turns, before a cell sees them (Melis, Kocisky and Blunsom 2020).

        x <- 2 sigmoid(Q_i h) * x        rounds 1, 3, 5, ...
        h <- 2 sigmoid(R_i x) * h        rounds 2, 4, ...

    x is (B, I), h (B, H). Q and R start at 0, where x and h stay as they are. The cell asks its gates of this h; what
    it keeps of the past (z * h of a GRU, c of an LSTM) is not gated.

    Example:
        >>> x, h = Mogrifier(2, 3, rounds=5)(torch.ones(1, 2), torch.ones(1, 3))
        >>> x.tolist(), h.tolist()
        ([[1.0, 1.0]], [[1.0, 1.0, 1.0]])
    """

    def __init__(self, inputs: int, hidden: int, *, rounds: int) -> None:
        super().__init__()
        shapes = [(inputs, hidden), (hidden, inputs)] * rounds
        self.rounds = nn.ParameterList(torch.zeros(shape) for shape in shapes[:rounds])

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """What the cell reads instead of x and h."""
        for i, W in enumerate(self.rounds):
            if i % 2 == 0:
                x = 2 * torch.sigmoid(h @ W.t()) * x
            else:
                h = 2 * torch.sigmoid(x @ W.t()) * h
        return x, h

    def operations(self) -> int:
        """Multiplications of one step."""
        return sum(W.numel() for W in self.rounds)

    def run(self, cell: type[Cell], inputs: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
        """Outputs (B, T, H) and the last state, as of an engine: no engine can, since x now waits for h."""
        outputs = []
        for step in inputs.unbind(1):
            x, h = self(step, state[0])
            state = cell.step(F.linear(x, weights.W_x, weights.b_x), F.linear(h, weights.W_h, weights.b_h), *state)
            outputs.append(state[0])
        return torch.stack(outputs).transpose(0, 1), state


class Layer(nn.Module):
    """The parameters of one layer: W_x, W_h, b_x, b_h in PyTorch's shapes and order, its initial state, its parts."""

    def __init__(
        self,
        cell: type[Cell],
        inputs: int,
        hidden: int,
        *,
        tokens: bool,
        learn_initial_state: bool,
        layer_norm: bool = False,
        residual: bool = False,
        mogrifier: int = 0,
    ) -> None:
        super().__init__()
        rows = len(cell.gates) * hidden
        W_x = torch.zeros(inputs, rows).t() if tokens else torch.zeros(rows, inputs)
        self.W_x, self.W_h = nn.Parameter(W_x), nn.Parameter(torch.zeros(rows, hidden))
        self.b_x, self.b_h = nn.Parameter(torch.zeros(rows)), nn.Parameter(torch.zeros(rows))
        self.start = nn.Parameter(torch.zeros(len(cell.states), hidden), requires_grad=learn_initial_state)
        self.norm = nn.LayerNorm(hidden) if layer_norm else None
        self.mogrifier = Mogrifier(inputs, hidden, rounds=mogrifier) if mogrifier else None
        self.has_residual = residual and inputs == hidden and not tokens

    def weights(self) -> Weights:
        """What an engine needs."""
        return Weights(self.W_x, self.W_h, self.b_x, self.b_h)

    def operations(self) -> int:
        """Multiplications of one step, where the input is no look-up."""
        gates = 0 if self.mogrifier is None else self.mogrifier.operations()
        return self.W_x.numel() + self.W_h.numel() + gates

    def normalize(self, h: Tensor) -> Tensor:
        """Outputs (..., H) as they are, or g (h - mean h) / sqrt(var h + 1e-5) + b over the units of each."""
        return h if self.norm is None else self.norm(h)
