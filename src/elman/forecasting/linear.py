"""Linear forecasters: the naive ones, the moving average, and linear autoregression in closed form.

x_{t+1} = b + w_1 x_{t-tau+1} + ... + w_tau x_t
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elman.errors import DataError
from elman.forecasting.base import WindowForecaster, forecast_from

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MAX_EXAMPLES, MAX_NUMBERS = 200_000, 2**25  # windows that a model is fitted to (the last ones), and values in them
STRENGTHS = 10.0 ** np.arange(-4, -0.9, 0.5)  # ridge penalties that are tried, divided by the number of examples
VALIDATED = 0.25  # the share of the training values, at their end, that the penalty is chosen on
MAX_ORIGINS = 500  # of the forecasts that it is chosen by


class LinearForecaster(WindowForecaster):
    """A weighted sum of the last tau values.

    Args:
        name: the name in tables.
        weights: (tau,), the last for the latest value.
        bias: b.
        parameters: how many of its weights and biases were fitted.
    """

    def __init__(self, name: str, weights: Values, bias: float = 0.0, parameters: int = 0) -> None:
        self.name, self.window, self.bias, self.parameters = name, len(weights), bias, parameters
        self.weights = torch.from_numpy(np.ascontiguousarray(weights, np.float64))

    def predict(self, windows: Tensor) -> Tensor:
        """The weighted sum of each window, plus b."""
        return windows @ self.weights + self.bias

    def parameter_count(self) -> int:
        """The number of fitted weights and biases."""
        return self.parameters

    def operations(self) -> int:
        """Multiplications of one prediction: one for each weight that is not zero."""
        return int((self.weights != 0).sum())


def last_value() -> LinearForecaster:
    """The naive forecast: the last value again. Every other must beat it."""
    return LinearForecaster("last", np.ones(1))


def seasonal_naive(season: int) -> LinearForecaster:
    """The seasonal naive forecast: the value `season` steps before the one that is predicted."""
    weights = np.zeros(season)
    weights[0] = 1
    return LinearForecaster(f"seasonal-{season}", weights)


def moving_average(tau: int, training_values: int) -> LinearForecaster:
    """The mean of the last tau values.

    Args:
        tau: values in the window, at least 1.
        training_values: how many there are.

    Raises:
        DataError: there are fewer than tau.
    """
    if tau > training_values:
        raise DataError(
            f"mean-{tau} needs {tau:,} training values and there are {training_values:,}: take a shorter window"
        )
    return LinearForecaster(f"mean-{tau}", np.full(tau, 1 / tau))


def windows_and_targets(values: Values, observed: Mask, tau: int, name: str) -> tuple[Values, Values]:
    """The windows of a series and their targets.

    Args:
        values: training values, (T,).
        observed: whether each was observed, (T,); others are never targets.
        tau: values in a window.
        name: of the forecaster, for messages.

    Returns:
        Windows, (N, tau), and the value after each, (N,); the last ones where there are very many.

    Raises:
        DataError: there are none.
    """
    most = max(2 * tau, min(MAX_EXAMPLES, MAX_NUMBERS // tau))
    targets = np.flatnonzero(observed[tau:])[-most:]
    if not len(targets):
        raise DataError(
            f"{name} needs more than {tau} training values and there are {len(values):,}: "
            "take a shorter window, or train on more"
        )
    return np.lib.stride_tricks.sliding_window_view(values[:-1], tau)[targets], values[tau:][targets]


def autoregression(values: Values, observed: Mask, tau: int) -> LinearForecaster:
    """Linear autoregression AR(tau), fitted by ordinary least squares.

    Args:
        values: training values, (T,).
        observed: whether each was observed, (T,); others are never targets.
        tau: values in the window.

    Raises:
        DataError: fewer examples than unknowns.
    """
    name = f"ar-{tau}"
    X, y = windows_and_targets(values, observed, tau, name)
    if len(y) <= tau + 1:
        raise DataError(f"{name} has {tau + 1} unknowns and {len(y):,} examples: take a shorter window, or ridge-{tau}")
    solution = np.asarray(np.linalg.lstsq(np.column_stack((X, np.ones(len(y)))), y)[0], np.float64)
    return LinearForecaster(name, solution[:-1], float(solution[-1]), tau + 1)


def ridge_autoregression(values: Values, observed: Mask, tau: int, horizon: int) -> LinearForecaster:
    """Linear autoregression with a ridge penalty on the weights (Hoerl and Kennard 1970), in closed form.

        w = argmin |y - b - X w|^2 + lambda |w|^2 = (X'X + lambda I)^-1 X'y        (X and y centred)

    lambda is the one of `STRENGTHS` whose forecasts of 1 to `horizon` steps have the least squared error on the last
    quarter of the values when it is fitted to the others; then it is fitted to all values.

    Args:
        values: training values, (T,).
        observed: whether each was observed, (T,); others are never targets.
        tau: values in the window.
        horizon: K, steps ahead that the penalty is chosen for.

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
    origins = origins[observed[origins]]
    origins = origins[np.unique(np.linspace(0, len(origins) - 1, MAX_ORIGINS).astype(int))] if len(origins) else origins
    at = origins[:, None] + np.arange(1, steps + 1)
    targets, counted = values[at], observed[at]
    errors = []
    for model in _ridges(values[:cut], observed[:cut], tau, name):
        predicted = forecast_from(model, torch.from_numpy(values), torch.from_numpy(origins), steps).numpy()
        error = float(np.mean((predicted - targets)[counted] ** 2)) if counted.any() else 0.0
        errors.append(error if np.isfinite(error) else np.inf)
    return _ridges(values, observed, tau, name)[int(np.argmin(errors))]


def _ridges(values: Values, observed: Mask, tau: int, name: str) -> list[LinearForecaster]:
    """The model for each penalty, out of one eigendecomposition."""
    X, y = windows_and_targets(values, observed, tau, name)
    X_mean, y_mean = X.mean(0), y.mean()
    X = X - X_mean
    eigenvalues, V = np.linalg.eigh(X.T @ X)
    projected = V.T @ (X.T @ (y - y_mean))
    models = []
    for strength in STRENGTHS * len(y):
        w = V @ (projected / (np.maximum(eigenvalues, 0) + strength))
        models.append(LinearForecaster(name, w, float(y_mean - X_mean @ w), tau + 1))
    return models
