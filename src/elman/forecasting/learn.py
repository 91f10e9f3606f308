"""Fitting the forecasters that are networks: mean squared error, AdamW, one cycle of the learning rate."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from elman.config import TrainSettings
from elman.errors import DataError, DivergedError
from elman.forecasting.base import roll
from elman.forecasting.linear import Known, Values, examples
from elman.forecasting.mlp import MLP
from elman.forecasting.recurrent import Recurrent
from elman.rng import numpy_generator
from elman.training.optim import clip_gradients, optimizer_for, rate

BATCH = 32


@dataclass(frozen=True)
class Budget:
    """How long a network is fitted, and how boldly."""

    steps: int
    lr: float
    clip: float = 1.0


MLP_BUDGET, RECURRENT_BUDGET, AHEAD_BUDGET = Budget(1000, 1e-2), Budget(300, 3e-3), Budget(300, 3e-3)
MLP_HIDDEN, RECURRENT_HIDDEN = 32, 32


def mlp(values: Values, known: Known, tau: int, seed: int) -> MLP:
    """A windowed network fitted to predict one step ahead."""
    name = f"mlp-{tau}"
    X, y = map(torch.from_numpy, map(np.ascontiguousarray, examples(values, known, tau, name)))
    model, rng = MLP(name, tau, MLP_HIDDEN, seed), numpy_generator(seed, "examples")

    def loss() -> Tensor:
        rows = torch.from_numpy(rng.integers(0, len(y), BATCH))
        return (model.expected(X[rows]) - y[rows]).square().mean()

    _minimise(model, loss, MLP_BUDGET)
    return model


REFERENCE_EXAMPLES, REFERENCE_EPOCHS, REFERENCE_BATCH, REFERENCE_HIDDEN, REFERENCE_RATE = 600, 5, 16, 10, 0.01


def reference_mlp(values: Values, known: Known, tau: int, seed: int) -> MLP:
    """The lecture's network, exactly (S78): tau-10-1, the first 600 examples, 5 epochs of Adam, batches of 16."""
    name = f"mlp-reference-{tau}"
    X, y = (torch.tensor(a[:REFERENCE_EXAMPLES]) for a in examples(values, known, tau, name))
    model, rng = MLP(name, tau, REFERENCE_HIDDEN, seed), numpy_generator(seed, "examples")
    optimizer = torch.optim.Adam(model.parameters(), lr=REFERENCE_RATE)
    for _ in range(REFERENCE_EPOCHS):
        for rows in torch.from_numpy(rng.permutation(len(y))).split(REFERENCE_BATCH):
            optimizer.zero_grad()
            (model.expected(X[rows]) - y[rows]).square().mean().backward()
            optimizer.step()
    return model


def recurrent(values: Values, known: Known, cell: str, window: int, seed: int, *, horizon: int = 1) -> Recurrent:
    """A recurrent network fitted on windows from a state of zeros.

    With a horizon of 1 every value of a window is predicted from those before it. With a longer one the network reads
    the window and then its own predictions, and those are what is fitted, 1 to `horizon` steps ahead.

    Raises:
        DataError: fewer values than a window and its targets.
    """
    name = f"{cell}-{window}" if horizon == 1 else f"{cell}-ahead-{window}"
    starts = len(values) - window - horizon + 1
    if starts < 1:
        raise DataError(
            f"{name} needs {window + horizon:,} training values for a window and its targets and there are "
            f"{len(values):,}: take a shorter window or horizon"
        )
    x, seen = torch.from_numpy(values), torch.from_numpy(known)
    model, rng = Recurrent(name, cell, RECURRENT_HIDDEN, seed), numpy_generator(seed, "examples")

    def loss() -> Tensor:
        at = torch.from_numpy(rng.integers(0, starts, BATCH))[:, None]
        predicted, state = model(x[at + torch.arange(window)], model.initial(BATCH))
        if horizon == 1:
            targets = at + torch.arange(1, window + 1)
        else:
            predicted = roll(model, predicted[:, -1], state, horizon)
            targets = at + window + torch.arange(horizon)
        there = seen[targets]
        squares: Tensor = (predicted - x[targets]).square() * there
        return squares.sum() / there.sum().clamp(min=1)

    _minimise(model, loss, RECURRENT_BUDGET if horizon == 1 else AHEAD_BUDGET)
    return model


def _minimise(model: nn.Module, loss: Callable[[], Tensor], budget: Budget) -> None:
    """Lower the loss until the budget is spent.

    Raises:
        DivergedError: a gradient that is not finite.
    """
    settings = TrainSettings(lr=budget.lr, steps=budget.steps, clip=budget.clip)
    optimizer = optimizer_for((p for p in model.parameters() if p.requires_grad), settings)
    for step in range(budget.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(settings, (step + 0.5) / budget.steps)
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        try:
            clip_gradients(model.named_parameters(), settings.clip)
        except DivergedError as error:
            raise DivergedError(f"step {step}: {error}; scale the series, or take another model") from error
        optimizer.step()
