"""Forecasters that are a weighted sum of the last values: the naive ones, and linear autoregression in closed form.

x_{t+1} = b + w_1 x_{t-tau+1} + ... + w_tau x_t
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elman.errors import DataError
from elman.forecasting.base import Windowed, ahead

Values = npt.NDArray[np.float64]
Known = npt.NDArray[np.bool_]

EXAMPLES, NUMBERS = 200_000, 2**25  # the last so many windows are fitted to, or windows of so many numbers in all
STRENGTHS = 10.0 ** np.arange(-4, -0.9, 0.5)  # of the ridge that are tried, times the number of examples
VALIDATED = 0.25  # the share of the training values, at their end, that the strength is chosen on
ORIGINS = 500  # from which it is judged, at most


class Linear(Windowed):
    """A weighted sum of the last tau values.

    Args:
        name: what tables call it.
        weights: (tau,), the last for the latest value.
        bias: b.
        learnt: how many of its numbers were fitted.
    """

    def __init__(self, name: str, weights: Values, bias: float = 0.0, learnt: int = 0) -> None:
        self.name, self.tau, self.bias, self.learnt = name, len(weights), bias, learnt
        self.weights = torch.from_numpy(np.ascontiguousarray(weights, np.float64))

    def expected(self, windows: Tensor) -> Tensor:
        """The weighted sum, and b."""
        return windows @ self.weights + self.bias

    def parameter_count(self) -> int:
        """How many numbers were fitted."""
        return self.learnt

    def operations(self) -> int:
        """One a weight that is not zero."""
        return int((self.weights != 0).sum())


def last() -> Linear:
    """The last value again: the forecast that every other must beat."""
    return Linear("last", np.ones(1))


def seasonal(season: int) -> Linear:
    """The value one season before the one to be predicted."""
    return Linear(f"seasonal-{season}", np.eye(season)[0])


def mean(tau: int, values: int) -> Linear:
    """The mean of the last tau of so many values.

    Raises:
        DataError: there are not as many.
    """
    if tau > values:
        raise DataError(f"mean-{tau} needs {tau:,} training values and there are {values:,}: take a shorter window")
    return Linear(f"mean-{tau}", np.full(tau, 1 / tau))


def examples(values: Values, known: Known, tau: int, name: str) -> tuple[Values, Values]:
    """Windows (N, tau) and the value after each, (N,): those of them that were observed, the last ones of very many.

    Raises:
        DataError: there are none.
    """
    most = max(2 * tau, min(EXAMPLES, NUMBERS // tau))
    targets = np.flatnonzero(known[tau:])[-most:]
    if not len(targets):
        raise DataError(
            f"{name} needs more than {tau} training values and there are {len(values):,}: "
            "take a shorter window, or train on more"
        )
    return np.lib.stride_tricks.sliding_window_view(values[:-1], tau)[targets], values[tau:][targets]


def least_squares(values: Values, known: Known, tau: int) -> Linear:
    """Linear autoregression AR(tau) by ordinary least squares.

    Raises:
        DataError: fewer examples than unknowns.
    """
    name = f"ar-{tau}"
    X, y = examples(values, known, tau, name)
    if len(y) <= tau + 1:
        raise DataError(f"{name} has {tau + 1} unknowns and {len(y):,} examples: take a shorter window, or ridge-{tau}")
    solution = np.asarray(np.linalg.lstsq(np.column_stack((X, np.ones(len(y)))), y)[0], np.float64)
    return Linear(name, solution[:-1], float(solution[-1]), tau + 1)


def ridge(values: Values, known: Known, tau: int, horizon: int) -> Linear:
    """Linear autoregression with a penalty on the weights (Hoerl and Kennard 1970), in closed form.

        w = argmin |y - b - X w|^2 + lambda |w|^2 = (X'X + lambda I)^-1 X'y        (X and y centred)

    lambda is the one of `STRENGTHS` whose forecasts of 1 to `horizon` steps have the least squared error on the last
    quarter of the values, fitted to the others; then all values are fitted.

    Raises:
        DataError: no examples to fit or to choose on.
    """
    name, cut = f"ridge-{tau}", round(len(values) * (1 - VALIDATED))
    steps = min(horizon, (len(values) - cut) // 2)
    if cut <= tau + 1 or steps < 1:
        raise DataError(
            f"{name} needs more than {int((tau + 1) / (1 - VALIDATED)) + 1} training values and there are "
            f"{len(values):,}: take a shorter window, or train on more"
        )
    origins = np.arange(cut - 1, len(values) - steps)
    origins = origins[known[origins]]
    origins = origins[np.unique(np.linspace(0, len(origins) - 1, ORIGINS).astype(int))] if len(origins) else origins
    at = origins[:, None] + np.arange(1, steps + 1)
    wanted, seen = values[at], known[at]
    errors = []
    for model in _ridges(values[:cut], known[:cut], tau, name):
        predicted = ahead(model, torch.from_numpy(values), torch.from_numpy(origins), steps).numpy()
        error = float(np.mean((predicted - wanted)[seen] ** 2)) if seen.any() else 0.0
        errors.append(error if np.isfinite(error) else np.inf)
    return _ridges(values, known, tau, name)[int(np.argmin(errors))]


def _ridges(values: Values, known: Known, tau: int, name: str) -> list[Linear]:
    """The solution for each strength, out of one eigendecomposition."""
    X, y = examples(values, known, tau, name)
    centre, level = X.mean(0), y.mean()
    X = X - centre
    squares, V = np.linalg.eigh(X.T @ X)
    projected = V.T @ (X.T @ (y - level))
    found = []
    for strength in STRENGTHS * len(y):
        w = V @ (projected / (np.maximum(squares, 0) + strength))
        found.append(Linear(name, w, float(level - centre @ w), tau + 1))
    return found
