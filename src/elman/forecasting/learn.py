"""Training of the forecasters that are networks: mean squared error, AdamW, one cycle of the learning rate."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from elman.config import TrainSettings
from elman.errors import DataError, DivergedError
from elman.forecasting.base import rollout
from elman.forecasting.linear import Mask, Values, windows_and_targets
from elman.forecasting.mlp import MLPForecaster
from elman.forecasting.recurrent import RecurrentForecaster
from elman.rng import numpy_generator
from elman.training.optim import clip_gradients, optimizer_for, rate

BATCH = 32


@dataclass(frozen=True)
class Budget:
    """How a network is trained.

    Args:
        steps: batches of `BATCH` examples.
        lr: the highest learning rate.
        clip: the largest norm of a gradient.
    """

    steps: int
    lr: float
    clip: float = 1.0


MLP_BUDGET, RECURRENT_BUDGET, MULTI_STEP_BUDGET = Budget(1000, 1e-2), Budget(300, 3e-3), Budget(300, 3e-3)
MLP_HIDDEN, RECURRENT_HIDDEN = 32, 32


def train_mlp(values: Values, observed: Mask, tau: int, seed: int) -> MLPForecaster:
    """Train a windowed network to predict one step ahead.

    Args:
        values: training values, (T,), standardised.
        observed: whether each was observed, (T,); others are never targets.
        tau: values in the window.
        seed: of the initial weights and the order of the examples.

    Raises:
        DataError: fewer values than a window and its target.
        DivergedError: a gradient that is not finite.
    """
    name = f"mlp-{tau}"
    X, y = map(torch.from_numpy, map(np.ascontiguousarray, windows_and_targets(values, observed, tau, name)))
    model, rng = MLPForecaster(name, tau, MLP_HIDDEN, seed), numpy_generator(seed, "examples")

    def loss() -> Tensor:
        rows = torch.from_numpy(rng.integers(0, len(y), BATCH))
        return (model.predict(X[rows]) - y[rows]).square().mean()

    _minimise(model, loss, MLP_BUDGET)
    return model


REFERENCE_EXAMPLES, REFERENCE_EPOCHS, REFERENCE_BATCH, REFERENCE_HIDDEN, REFERENCE_RATE = 600, 5, 16, 10, 0.01


def train_reference_mlp(values: Values, observed: Mask, tau: int, seed: int) -> MLPForecaster:
    """Train the network of Zhang et al. 2021, section 8.1, exactly as its program does.

    It has 10 hidden units and is trained on the first 600 examples in 5 epochs of Adam with batches of 16.

    Args:
        values: training values, (T,), as they are.
        observed: whether each was observed, (T,); others are never targets.
        tau: values in the window; 4 in the published program.
        seed: of the initial weights and the order of the examples.

    Raises:
        DataError: fewer values than a window and its target.
    """
    name = f"mlp-reference-{tau}"
    X, y = (torch.tensor(a[:REFERENCE_EXAMPLES]) for a in windows_and_targets(values, observed, tau, name))
    model, rng = MLPForecaster(name, tau, REFERENCE_HIDDEN, seed), numpy_generator(seed, "examples")
    optimizer = torch.optim.Adam(model.parameters(), lr=REFERENCE_RATE)
    for _ in range(REFERENCE_EPOCHS):
        for rows in torch.from_numpy(rng.permutation(len(y))).split(REFERENCE_BATCH):
            optimizer.zero_grad()
            (model.predict(X[rows]) - y[rows]).square().mean().backward()
            optimizer.step()
    return model


def train_recurrent(
    values: Values, observed: Mask, cell: str, window: int, seed: int, *, horizon: int = 1
) -> RecurrentForecaster:
    """Train a recurrent network on windows, each from a state of zeros.

    With a horizon of 1 the loss is that of every value of a window, predicted from those before it. With a longer one
    the network reads the window and then its own predictions, and the loss is that of these 1 to `horizon` steps.

    Args:
        values: training values, (T,), standardised.
        observed: whether each was observed, (T,); others are never targets.
        cell: the name of a cell, see `elman.cells.CELLS`.
        window: values that are read.
        seed: of the initial weights and of the choice of windows.
        horizon: K, steps ahead, at least 1.

    Raises:
        DataError: fewer values than a window and its targets.
        DivergedError: a gradient that is not finite.
    """
    name = f"{cell}-{window}" if horizon == 1 else f"{cell}-ahead-{window}"
    starts = len(values) - window - horizon + 1
    if starts < 1:
        raise DataError(
            f"{name} needs {window + horizon:,} training values for a window and its targets and there are "
            f"{len(values):,}: take a shorter window or horizon"
        )
    x, counted = torch.from_numpy(values), torch.from_numpy(observed)
    model, rng = RecurrentForecaster(name, cell, RECURRENT_HIDDEN, seed), numpy_generator(seed, "examples")

    def loss() -> Tensor:
        at = torch.from_numpy(rng.integers(0, starts, BATCH))[:, None]
        predicted, state = model(x[at + torch.arange(window)], model.initial(BATCH))
        if horizon == 1:
            targets = at + torch.arange(1, window + 1)
        else:
            predicted = rollout(model, predicted[:, -1], state, horizon)
            targets = at + window + torch.arange(horizon)
        mask = counted[targets]
        squares: Tensor = (predicted - x[targets]).square() * mask
        return squares.sum() / mask.sum().clamp(min=1)

    _minimise(model, loss, RECURRENT_BUDGET if horizon == 1 else MULTI_STEP_BUDGET)
    return model


def _minimise(model: nn.Module, loss: Callable[[], Tensor], budget: Budget) -> None:
    """Minimise the loss.

    Raises:
        DivergedError: a gradient that is not finite.
    """
    settings = TrainSettings(lr=budget.lr, steps=budget.steps, clip=budget.clip)
    optimizer = optimizer_for(((name, p) for name, p in model.named_parameters() if p.requires_grad), settings)
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
