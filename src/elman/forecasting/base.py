"""The protocol of every forecaster, `(inputs, state) -> (prediction, state)`, and what follows from it.

    B batch    T time    N origins (times from which is predicted)    K steps ahead    tau values in a window

Values are standardised: see `elman.forecasting.fit`.
"""

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from elman.cells import State

LONG_SERIES, STREAMS, WARM_UP = 5_000, 50, 500  # values from which a series is read as several streams
MAX_STATE_NUMBERS = 2**22  # numbers of the states that are rolled out at a time


@runtime_checkable
class Forecaster(Protocol):
    """A model that predicts the next value; the state is passed in and returned, never kept."""

    @property
    def name(self) -> str:
        """The name in tables: last, ridge-128, gru-64."""

    def initial(self, batch: int) -> State:
        """The state before any value was read: tensors whose first dimension is `batch`."""

    def __call__(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One-step predictions.

        Args:
            inputs: observed values, (B, T).
            state: after the values before them.

        Returns:
            The prediction of the value after each input, (B, T), NaN where too few values were read; and the state
            after the last input.
        """

    def predict_at(self, values: Tensor, origins: Tensor) -> tuple[Tensor, State]:
        """One-step predictions after some values of a series, and the states there.

        Args:
            values: the series, (T,), read from its beginning.
            origins: indices into `values`, (N,).

        Returns:
            The prediction of the value after each origin, (N,), and the states at the origins, (N, ...) each.
        """

    def parameter_count(self) -> int:
        """The number of parameters that were fitted."""

    def operations(self) -> int:
        """Multiplications, each with its addition, of one prediction."""


class WindowForecaster(ABC):
    """A forecaster that reads the last tau values alone; its state is the tau-1 values before, NaN where unread."""

    window: int
    """tau, at least 1."""

    @abstractmethod
    def predict(self, windows: Tensor) -> Tensor:
        """The prediction of the value after each window.

        Args:
            windows: (..., tau), the latest value last.

        Returns:
            Predictions, (...).
        """

    def initial(self, batch: int) -> State:
        """The state before any value was read."""
        return (torch.full((batch, self.window - 1), torch.nan, dtype=torch.float64),)

    def __call__(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One-step predictions, and the last tau-1 values."""
        read = torch.cat((state[0], inputs), 1)
        return self.predict(read.unfold(1, self.window, 1)), (read[:, inputs.shape[1] :],)

    def predict_at(self, values: Tensor, origins: Tensor) -> tuple[Tensor, State]:
        """Predictions from the windows that end at the origins."""
        read = torch.cat((self.initial(1)[0][0], values))
        windows = read.unfold(0, self.window, 1)[origins]
        return self.predict(windows), (windows[:, 1:],)


class StatefulForecaster(nn.Module, ABC):
    """A forecaster whose state has to be computed step by step."""

    @abstractmethod
    def initial(self, batch: int) -> State:
        """The state before any value was read."""

    @torch.no_grad()
    def predict_at(self, values: Tensor, origins: Tensor) -> tuple[Tensor, State]:
        """Predictions and states after reading value by value.

        From `LONG_SERIES` values on a series is read as `STREAMS` streams, each after `WARM_UP` values before it.
        """
        streams = STREAMS if len(values) > LONG_SERIES else 1
        warm, length = (WARM_UP, -(-len(values) // streams)) if streams > 1 else (0, len(values))
        padded = torch.cat((values.new_zeros(warm), values, values.new_zeros(streams * length - len(values))))
        rows = padded.unfold(0, warm + length, length)  # (streams, warm + length): row i ends where row i + 1 begins
        begins = (warm - length * torch.arange(streams)).clamp(min=0)  # steps of each row before the first value
        state, predictions, states = self.initial(streams), [], []
        for step, inputs in enumerate(rows.T):
            if (begun := begins == step).any():
                fresh = self.initial(streams)
                state = tuple(torch.where(begun[:, None], new, old) for new, old in zip(fresh, state, strict=True))
            prediction, state = self(inputs[:, None], state)
            if step >= warm:
                predictions.append(prediction[:, 0])
                states.append(state)
        joined = tuple(torch.stack(each, 1).flatten(0, 1)[origins] for each in zip(*states, strict=True))
        return torch.stack(predictions, 1).flatten()[origins], joined


def rollout(model: Forecaster, first: Tensor, state: State, steps: int) -> Tensor:
    """Predictions of several steps, each from the one before it as if that were observed.

        x_1 = first,   x_{k+1}, s = f(x_k, s)                   (Zhang et al. 2021, section 8.1)

    Args:
        model: the forecaster.
        first: the one-step prediction, (N,).
        state: before it is read.
        steps: K, at least 1.

    Returns:
        Predictions 1 to K steps ahead, (N, K).
    """
    predictions = [first]
    for _ in range(steps - 1):
        following, state = model(predictions[-1][:, None], state)
        predictions.append(following[:, 0])
    return torch.stack(predictions, 1)


@torch.no_grad()
def forecast_from(model: Forecaster, values: Tensor, origins: Tensor, steps: int) -> Tensor:
    """Forecasts from several origins, each made from values[: origin + 1] alone.

    Args:
        model: the forecaster.
        values: the series, (T,).
        origins: indices into `values`, (N,).
        steps: K, at least 1.

    Returns:
        Predictions 1 to K steps after each origin, (N, K).
    """
    first, states = model.predict_at(values[: int(origins.max()) + 1], origins)
    width = sum(s[0].numel() for s in states) or 1
    pieces = torch.arange(len(origins)).split(max(1, MAX_STATE_NUMBERS // width))
    return torch.cat([rollout(model, first[at], tuple(s[at] for s in states), steps) for at in pieces])


@torch.no_grad()
def predict_one_step(model: Forecaster, values: Tensor) -> Tensor:
    """The prediction of the value after each of a series.

    Args:
        model: the forecaster.
        values: the series, (T,), read as one stream.

    Returns:
        Predictions, (T,), NaN where too few values were read.
    """
    origins = torch.arange(len(values))
    pieces = (
        origins.split(max(1, MAX_STATE_NUMBERS // model.window)) if isinstance(model, WindowForecaster) else [origins]
    )
    return torch.cat([model.predict_at(values, at)[0] for at in pieces])
