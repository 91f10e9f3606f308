"""The windowed network: one hidden layer over the last tau values (S78)."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from elman.forecasting.base import Windowed
from elman.rng import torch_generator


class MLP(Windowed, nn.Module):
    """A network with one hidden layer.

        x_{t+1} = W_q relu(W x + b) + b_q        x the last tau values

    Weights begin as Xavier's (Glorot and Bengio 2010), biases as PyTorch's, uniform.

    Args:
        name: what tables call it.
        tau: values that it sees.
        hidden: units of the hidden layer, H.
        seed: of the initial weights.
    """

    def __init__(self, name: str, tau: int, hidden: int, seed: int) -> None:
        super().__init__()
        self.name, self.tau = name, tau
        rng = torch_generator(seed, "initial weights")
        self.W, self.b = _layer(tau, hidden, rng)
        self.W_q, self.b_q = _layer(hidden, 1, rng)

    def expected(self, windows: Tensor) -> Tensor:
        """The value after each window."""
        expected: Tensor = F.linear(F.linear(windows, self.W, self.b).relu(), self.W_q, self.b_q)[..., 0]
        return expected

    def forward(self, inputs: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The protocol's call."""
        return Windowed.__call__(self, inputs, state)

    def parameter_count(self) -> int:
        """Weights and biases."""
        return sum(p.numel() for p in self.parameters())

    def operations(self) -> int:
        """Of both layers."""
        return self.W.numel() + self.W_q.numel()


def _layer(inputs: int, outputs: int, rng: Generator) -> tuple[nn.Parameter, nn.Parameter]:
    W, b = torch.empty(outputs, inputs, dtype=torch.float64), torch.empty(outputs, dtype=torch.float64)
    nn.init.xavier_uniform_(W, generator=rng)
    b.uniform_(-(inputs**-0.5), inputs**-0.5, generator=rng)
    return nn.Parameter(W), nn.Parameter(b)
