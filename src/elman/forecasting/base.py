"""The protocol of every forecaster, `(inputs, state) -> (prediction, state)`, and what follows from it.

    B batch    T time    N origins (times from which is predicted)    K steps ahead    tau values in a window

Values are standardised: see `elman.forecasting.fit`.
"""

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from elman.cells import State

LONG, STREAMS, WARM = 5_000, 50, 500  # values from which a series is read as several streams
ROWS = 2**22  # numbers of the states that are rolled ahead at a time


@runtime_checkable
class Forecaster(Protocol):
    """Predicts the next value; the state is passed in and returned, never kept."""

    @property
    def name(self) -> str:
        """What tables call it: last, ridge-128, gru."""

    def initial(self, batch: int) -> State:
        """The state before anything was read: tensors whose first dimension is `batch`."""

    def __call__(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """The value expected after each of inputs (B, T), NaN where too few were read, and the state after the last."""

    def history(self, values: Tensor, origins: Tensor) -> tuple[Tensor, State]:
        """Of values (T,), read as one stream: predictions after, and the states (N, ...) at, each of origins (N,)."""

    def parameter_count(self) -> int:
        """How many numbers were learnt."""

    def operations(self) -> int:
        """Multiplications, each with its addition, of one prediction."""


class Windowed(ABC):
    """A forecaster that sees the last tau values and nothing else; its state is the tau-1 before, NaN where unread."""

    tau: int

    @abstractmethod
    def expected(self, windows: Tensor) -> Tensor:
        """The value (...) after each window (..., tau), whose last value is the latest."""

    def initial(self, batch: int) -> State:
        """Nothing read."""
        return (torch.full((batch, self.tau - 1), torch.nan, dtype=torch.float64),)

    def __call__(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """The value expected after each of inputs (B, T), and the values that the next one sees."""
        read = torch.cat((state[0], inputs), 1)
        return self.expected(read.unfold(1, self.tau, 1)), (read[:, inputs.shape[1] :],)

    def history(self, values: Tensor, origins: Tensor) -> tuple[Tensor, State]:
        """The windows that end at the origins."""
        read = torch.cat((self.initial(1)[0][0], values))
        windows = read.unfold(0, self.tau, 1)[origins]
        return self.expected(windows), (windows[:, 1:],)


class Stateful(nn.Module, ABC):
    """A forecaster whose state has to be computed step by step."""

    @abstractmethod
    def initial(self, batch: int) -> State:
        """The state before anything was read."""

    @torch.no_grad()
    def history(self, values: Tensor, origins: Tensor) -> tuple[Tensor, State]:
        """One value after the other; a long series as `STREAMS` streams, each warmed on the `WARM` values before it."""
        streams = STREAMS if len(values) > LONG else 1
        warm, length = (WARM, -(-len(values) // streams)) if streams > 1 else (0, len(values))
        padded = torch.cat((values.new_zeros(warm), values, values.new_zeros(streams * length - len(values))))
        rows = padded.unfold(0, warm + length, length)  # (streams, warm + length): row i ends where row i + 1 begins
        state, predictions, states = self.initial(streams), [], []
        for step, inputs in enumerate(rows.T):
            if step == warm:  # nothing stands before the first
                state = tuple(torch.cat((new, old[1:])) for new, old in zip(self.initial(1), state, strict=True))
            prediction, state = self(inputs[:, None], state)
            if step >= warm:
                predictions.append(prediction[:, 0])
                states.append(state)
        joined = tuple(torch.stack(each, 1).flatten(0, 1)[origins] for each in zip(*states, strict=True))
        return torch.stack(predictions, 1).flatten()[origins], joined


def roll(model: Forecaster, first: Tensor, state: State, steps: int) -> Tensor:
    """Predictions (N, steps): the first is given, (N,), the others read the one before them as if it were observed.

    x_1 = first,   x_{k+1}, s = f(x_k, s)                                                              (S80)
    """
    predictions = [first]
    for _ in range(steps - 1):
        following, state = model(predictions[-1][:, None], state)
        predictions.append(following[:, 0])
    return torch.stack(predictions, 1)


@torch.no_grad()
def ahead(model: Forecaster, values: Tensor, origins: Tensor, steps: int) -> Tensor:
    """Predictions (N, steps) of the 1st to last step after each origin, made from values[: origin + 1] alone (S82).

    Args:
        model: the forecaster.
        values: (T,), of which each origin sees those up to itself.
        origins: (N,) indices into `values`.
        steps: K, at least 1.
    """
    first, states = model.history(values[: int(origins.max()) + 1], origins)
    width = sum(s[0].numel() for s in states) or 1
    pieces = torch.arange(len(origins)).split(max(1, ROWS // width))
    return torch.cat([roll(model, first[at], tuple(s[at] for s in states), steps) for at in pieces])


@torch.no_grad()
def one_step(model: Forecaster, values: Tensor) -> Tensor:
    """The prediction (T,) after each of values (T,), read as one stream."""
    origins = torch.arange(len(values))
    pieces = origins.split(max(1, ROWS // model.tau)) if isinstance(model, Windowed) else [origins]
    return torch.cat([model.history(values, at)[0] for at in pieces])
