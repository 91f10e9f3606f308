"""The windowed network: one hidden layer over the last tau values (Zhang et al. 2021, section 8.1)."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from elman.forecasting.base import WindowForecaster
from elman.rng import torch_generator


class MLPForecaster(WindowForecaster, nn.Module):
    """A network with one hidden layer.

        x_{t+1} = W_q relu(W x + b) + b_q        x the last tau values

    The initial weights are Xavier's (Glorot and Bengio 2010), the initial biases PyTorch's, uniform.

    Args:
        name: the name in tables.
        window: values that it reads, tau.
        hidden: units of the hidden layer, H.
        seed: of the initial weights.
    """

    def __init__(self, name: str, window: int, hidden: int, seed: int) -> None:
        super().__init__()
        self.name, self.window = name, window
        rng = torch_generator(seed, "initial weights")
        self.W, self.b = _layer(window, hidden, rng)
        self.W_q, self.b_q = _layer(hidden, 1, rng)

    def predict(self, windows: Tensor) -> Tensor:
        """The prediction of the value after each window."""
        predicted: Tensor = F.linear(F.linear(windows, self.W, self.b).relu(), self.W_q, self.b_q)[..., 0]
        return predicted

    def forward(self, inputs: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One-step predictions, see `Forecaster`."""
        return WindowForecaster.__call__(self, inputs, state)

    def parameter_count(self) -> int:
        """The number of weights and biases."""
        return sum(p.numel() for p in self.parameters())

    def operations(self) -> int:
        """Multiplications of one prediction: both layers."""
        return self.W.numel() + self.W_q.numel()


def _layer(inputs: int, outputs: int, rng: Generator) -> tuple[nn.Parameter, nn.Parameter]:
    W, b = torch.empty(outputs, inputs, dtype=torch.float64), torch.empty(outputs, dtype=torch.float64)
    nn.init.xavier_uniform_(W, generator=rng)
    b.uniform_(-(inputs**-0.5), inputs**-0.5, generator=rng)
    return nn.Parameter(W), nn.Parameter(b)
