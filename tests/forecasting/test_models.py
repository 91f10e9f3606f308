"""Every forecaster against loops over single numbers, `torch.nn` with copied weights, and optimality itself."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from elman.errors import ConfigError, DataError
from elman.forecasting import base, learn, linear
from elman.forecasting.base import forecast_from
from elman.forecasting.fit import FORECASTERS, fit_forecaster, name_with_window
from elman.forecasting.mlp import MLPForecaster
from elman.forecasting.recurrent import RecurrentForecaster
from elman.forecasting.series import sine

RNG = np.random.default_rng(0)
VALUES = sine(140, seed=1).values
ALL = np.ones(len(VALUES), bool)
NAMES = [
    "last",
    "seasonal-7",
    "mean-5",
    "ar-3",
    "ridge-6",
    "mlp-4",
    "mlp-reference-4",
    "elman-8",
    "gru-8",
    "lstm-8",
    "gru-ahead-8",
]


@pytest.fixture(scope="module")
def fitted():
    """A forecaster of every kind, its training cut short: what it learnt does not matter here."""
    patch = pytest.MonkeyPatch()
    for budget in ("MLP_BUDGET", "RECURRENT_BUDGET", "MULTI_STEP_BUDGET"):
        patch.setattr(learn, budget, learn.Budget(5, 1e-2))
    models = {name: fit_forecaster(name, VALUES[:100], horizon=5, seed=2) for name in NAMES}
    patch.undo()
    return models


def test_every_kind_is_tested():
    assert {FORECASTERS[k].takes_window for k in FORECASTERS} == {True, False}
    assert {name.rstrip("0123456789").rstrip("-") for name in NAMES} >= set(FORECASTERS) - {
        "elman-relu", "elman-ahead", "elman-relu-ahead", "lstm-ahead",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_in_pieces_is_the_stream_and_its_history(fitted, name):
    model, x = fitted[name].model, torch.from_numpy(VALUES)
    whole, state = model(x[None], model.initial(1))
    first, between = model(x[None, :33], model.initial(1))
    second, after = model(x[None, 33:], between)
    torch.testing.assert_close(torch.cat((first, second), 1), whole, equal_nan=True)
    torch.testing.assert_close(base.predict_one_step(model, x), whole[0], equal_nan=True)
    predicted, states = model.predict_at(x, torch.tensor([40, len(x) - 1]))
    torch.testing.assert_close(predicted, whole[0][[40, -1]], equal_nan=True)
    for piecewise, at_end, of_history in zip(after, state, states, strict=True):
        torch.testing.assert_close(piecewise, at_end)
        torch.testing.assert_close(of_history[1:], at_end)
        assert len(of_history) == 2


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_a_long_series_is_read_as_warmed_streams(monkeypatch, cell):
    model = RecurrentForecaster("r", cell, 5, 1)
    with torch.no_grad():
        model.layer.W_h.mul_(0.3)  # it forgets what is 120 values back
        model.W_q.normal_(generator=torch.Generator().manual_seed(1))
    x = torch.from_numpy(sine(1033, seed=4).values)
    everywhere = torch.arange(len(x))
    exact, states = model.predict_at(x, everywhere)
    for name, value in (("LONG_SERIES", 100), ("STREAMS", 7), ("WARM_UP", 120)):
        monkeypatch.setattr(base, name, value)
    streams, of_streams = model.predict_at(x, everywhere)
    torch.testing.assert_close(streams, exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(streams[:148], exact[:148], rtol=1e-14, atol=1e-14)  # the first is not warmed, but exact
    for mine, wanted in zip(of_streams, states, strict=True):
        assert mine.shape == wanted.shape
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-5)


def test_a_stream_that_begins_near_the_beginning_of_a_series_reads_only_what_is_there(monkeypatch):
    """Three of the streams have fewer than 120 values before them: they read those, and nothing that was made up."""
    model = RecurrentForecaster("r", "gru", 5, 1)
    with torch.no_grad():
        model.W_q.normal_(generator=torch.Generator().manual_seed(1))
    x = torch.from_numpy(sine(1033, seed=4).values) + 3
    exact, states = model.predict_at(x, torch.arange(120))
    for name, value in (("LONG_SERIES", 100), ("STREAMS", 26), ("WARM_UP", 120)):
        monkeypatch.setattr(base, name, value)
    streams, of_streams = model.predict_at(x, torch.arange(120))
    torch.testing.assert_close(streams, exact, rtol=1e-13, atol=1e-13)
    for mine, wanted in zip(of_streams, states, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_batch_do_not_see_each_other(fitted, name):
    model = fitted[name].model
    x = torch.from_numpy(RNG.normal(size=(3, 40)))
    together, _ = model(x, model.initial(3))
    for row in range(3):
        alone, _ = model(x[row : row + 1], model.initial(1))
        torch.testing.assert_close(together[row : row + 1], alone, equal_nan=True)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_a_forecast_feeds_on_itself_and_on_nothing_that_comes_later(fitted, name):
    """Each origin again, value by value, without any history or batch; and with another future."""
    model, origins, steps = fitted[name].model, np.array([60, 99, 120]), 7
    predicted = forecast_from(model, torch.from_numpy(VALUES), torch.from_numpy(origins), steps).numpy()
    for row, origin in enumerate(origins):
        state, guess = model.initial(1), None
        for value in VALUES[: origin + 1]:
            guess, state = model(torch.tensor([[value]]), state)
        expected = []
        for _ in range(steps):
            expected.append(float(guess[0, 0]))
            guess, state = model(guess, state)
        np.testing.assert_allclose(predicted[row], expected, rtol=1e-9, atol=1e-12)
    other = VALUES.copy()
    other[121:] = 1e6
    again = forecast_from(model, torch.from_numpy(other), torch.from_numpy(origins), steps).numpy()
    np.testing.assert_array_equal(again, predicted)


def test_the_naive_forecasts_by_hand():
    x = np.array([1.0, 5, 2, 7, 3, 9])
    at = np.array([5])
    assert fit_forecaster("last", x).forecast_from(x, at, 3).round(9).tolist() == [[9, 9, 9]]
    assert fit_forecaster("seasonal-3", x).forecast_from(x, at, 5).round(9).tolist() == [[7, 3, 9, 7, 3]]
    assert fit_forecaster("mean-2", x).forecast_from(x, at, 3).round(9).tolist() == [[6, 7.5, 6.75]]
    one_step = fit_forecaster("mean-2", x).predict_one_step(x)
    assert np.isnan(one_step[:2]).all()
    assert one_step[2:].round(9).tolist() == [3, 3.5, 4.5, 5]


def test_least_squares_finds_the_recurrence_that_made_the_numbers():
    x = [0.3, -0.2, 0.9]
    for _ in range(60):
        x.append(0.25 + 0.5 * x[-1] - 0.3 * x[-2] + 0.45 * x[-3])
    model = linear.autoregression(np.array(x[:20]), np.ones(20, bool), 3)
    np.testing.assert_allclose(model.weights.numpy(), [0.45, -0.3, 0.5], rtol=1e-6)
    assert model.bias == pytest.approx(0.25)
    free = fit_forecaster("ar-3", np.array(x[:20])).forecast(np.array(x[:20]), 40)
    np.testing.assert_allclose(free, x[20:60], rtol=1e-6)


@given(st.integers(1, 9), st.integers(0, 10**6))
def test_ridge_is_where_its_objective_is_flat(tau, seed):
    """The gradient of |y - b - X w|^2 + lambda |w|^2 by w and by b is 0, for every strength."""
    x = np.random.default_rng(seed).normal(size=60).cumsum()
    known = np.random.default_rng(seed + 1).random(60) > 0.2
    rows = [t for t in range(tau, 60) if known[t]]
    X, y = np.array([x[t - tau : t] for t in rows]), x[rows]
    for model, strength in zip(linear._ridges(x, known, tau, "r"), linear.STRENGTHS * len(y), strict=True):
        w = model.weights.numpy()
        residual = y - model.bias - X @ w
        size = np.abs(X).max() * len(y)
        np.testing.assert_allclose(-X.T @ residual + strength * w, 0, atol=1e-8 * size * np.abs(x).max())
        assert residual.sum() == pytest.approx(0, abs=1e-8 * size)


def test_ridge_takes_the_strength_that_forecasts_the_end_best():
    x, known = VALUES[:100].copy(), ALL[:100]
    model = linear.ridge_autoregression(x, known, 6, 5)
    errors = []
    for candidate in linear._ridges(x[:75], known[:75], 6, "r"):
        squares = []
        for origin in range(74, 95):
            window = list(x[origin - 5 : origin + 1])
            for k in range(1, 6):
                window.append(float(candidate.weights.numpy() @ window[-6:] + candidate.bias))
                squares.append((window[-1] - x[origin + k]) ** 2)
        errors.append(np.mean(squares))
    best = linear._ridges(x, known, 6, "r")[int(np.argmin(errors))]
    np.testing.assert_array_equal(model.weights, best.weights)


def test_values_that_were_filled_in_are_read_but_never_targets():
    known = ALL.copy()
    known[[10, 50, 51]] = False
    X, y = linear.windows_and_targets(VALUES, known, 4, "x")
    assert len(y) == len(VALUES) - 4 - 3
    assert not set(VALUES[[10, 50, 51]]) & set(y)
    assert VALUES[10] in X


def test_the_reference_network_is_the_one_of_the_published_program():
    """Its training once more with `torch.nn`: linear, ReLU, linear, Adam 0.01, 5 epochs of batches of 16."""
    x = sine(seed=5).values[:604]
    model = fit_forecaster("mlp-reference", x, seed=3).model
    start = MLPForecaster("m", 4, 10, 3)
    assert model.parameter_count() == 61
    assert float(start.W.detach().abs().max()) <= (6 / 14) ** 0.5  # Xavier's bound
    assert float(start.W.detach().abs().max()) > 0.8 * (6 / 14) ** 0.5
    net = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 1)).double()
    with torch.no_grad():
        for into, what in zip(net.parameters(), (start.W, start.b, start.W_q, start.b_q), strict=True):
            into.copy_(what)
    features = torch.tensor(np.stack([x[i : i + 4] for i in range(600)]))
    labels = torch.tensor(x[4:604])[:, None]
    rng, optimizer = learn.numpy_generator(3, "examples"), torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(5):
        order = rng.permutation(600)
        for begin in range(0, 600, 16):
            rows = order[begin : begin + 16]
            optimizer.zero_grad()
            nn.MSELoss()(net(features[rows]), labels[rows]).backward()
            optimizer.step()
    for mine, theirs in zip((model.W, model.b, model.W_q, model.b_q), net.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(("cell", "module"), [("elman", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_a_recurrent_forecaster_is_the_layer_of_torch(cell, module):
    model = RecurrentForecaster("r", cell, 6, 1)
    layer = module(1, 6, batch_first=True).double()
    with torch.no_grad():
        model.W_q.normal_(generator=torch.Generator().manual_seed(1))
        for theirs, mine in zip(
            layer.parameters(), (model.layer.W_x, model.layer.W_h, model.layer.b_x, model.layer.b_h), strict=True
        ):
            theirs.copy_(mine)
    x = torch.from_numpy(VALUES[:30])[None]
    with torch.no_grad():
        expected = layer(x[..., None])[0] @ model.W_q.t() + model.b_q
        torch.testing.assert_close(model(x, model.initial(1))[0], expected[..., 0])


@pytest.mark.parametrize("horizon", [1, 4])
def test_the_loss_of_a_recurrent_network_is_over_its_own_outputs(monkeypatch, horizon):
    """The first loss, once more by a loop over rows and steps, with a gap that must not count."""
    x, known = VALUES[:60], ALL[:60].copy()
    known[20:30] = False
    losses = []
    monkeypatch.setattr(learn, "_minimise", lambda model, loss, budget: losses.append((model, loss)))
    learn.train_recurrent(x, known, "gru", 8, 4, horizon=horizon)
    model, loss = losses[0]
    with torch.no_grad():
        model.W_q.normal_(generator=torch.Generator().manual_seed(2))
        found = float(loss())
        rng = learn.numpy_generator(4, "examples")
        squares = []
        for start in rng.integers(0, 60 - 8 - horizon + 1, learn.BATCH):
            state = model.initial(1)
            for i in range(8):
                guess, state = model(torch.tensor([[x[start + i]]]), state)
                if horizon == 1 and known[start + i + 1]:
                    squares.append((float(guess) - x[start + i + 1]) ** 2)
            for k in range(horizon if horizon > 1 else 0):
                if known[start + 8 + k]:
                    squares.append((float(guess) - x[start + 8 + k]) ** 2)
                guess, state = model(guess, state)
    assert found == pytest.approx(np.mean(squares))


@settings(max_examples=20)
@given(st.sampled_from(["last", "mean-3", "ar-2", "ridge-5", "mlp-3"]), st.floats(0.01, 100), st.floats(-50, 50))
def test_units_change_nothing(name, scale, shift):
    """Standardised by the training part: forecasts in other units are the same forecasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learn, "MLP_BUDGET", learn.Budget(3, 1e-2))
        plain, scaled = (
            fit_forecaster(name, VALUES[:80], horizon=4),
            fit_forecaster(name, VALUES[:80] * scale + shift, horizon=4),
        )
    at = np.array([79, 100])
    expected = plain.forecast_from(VALUES, at, 4) * scale + shift
    np.testing.assert_allclose(
        scaled.forecast_from(VALUES * scale + shift, at, 4), expected, rtol=1e-6, atol=1e-6 * scale
    )


@pytest.mark.parametrize("name", ["mlp-4", "gru-8"])
def test_a_seed_makes_a_network_and_another_seed_another(monkeypatch, name):
    monkeypatch.setattr(learn, "MLP_BUDGET", learn.Budget(3, 1e-2))
    monkeypatch.setattr(learn, "RECURRENT_BUDGET", learn.Budget(3, 1e-2))
    one, same, other = (fit_forecaster(name, VALUES, seed=seed).forecast(VALUES, 3) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


def test_learning_lowers_the_error_of_a_network():
    """A wave without noise: every network predicts it far better than its last value."""
    wave = np.sin(np.arange(400) * 0.4)
    naive = np.mean(np.diff(wave[300:]) ** 2)
    for name in ("mlp-8", "elman-16", "gru-16"):
        predicted = fit_forecaster(name, wave[:300]).predict_one_step(wave)
        assert np.mean((predicted - wave)[300:] ** 2) < 0.05 * naive, name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rigde", "did you mean ridge"),
        ("ridge-0", "takes a window of 1 to"),
        ("last-3", "there is no model 'last-3'"),
        ("seasonal", "needs a season"),
        ("seasonal-999999", "takes a window"),
        ("", "there is no model"),
    ],
)
def test_names_that_mean_nothing(name, message):
    with pytest.raises(ConfigError, match=message):
        fit_forecaster(name, VALUES)


@pytest.mark.parametrize(
    "name", ["ar-10", "ridge-10", "mlp-12", "mlp-reference-12", "gru-12", "gru-ahead-10", "seasonal-12", "mean-13"]
)
def test_a_series_that_is_too_short(name):
    with pytest.raises(DataError, match=r"training values|unknowns"):
        fit_forecaster(name, VALUES[:12], horizon=4)


def test_values_that_are_all_alike():
    with pytest.raises(DataError, match=r"all of the 9 training values are 2\.5"):
        fit_forecaster("last", np.full(9, 2.5))


def test_names_with_their_windows():
    names = ("ridge", "ridge-8", "last", "seasonal", "seasonal-4", "mlp-reference")
    assert [name_with_window(n, 12) for n in names] == [
        "ridge-64", "ridge-8", "last", "seasonal-12", "seasonal-4", "mlp-reference-4",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_operations_and_parameters_are_counted(fitted, name):
    model = fitted[name].model
    if isinstance(model, nn.Module):
        trained = [p for p in model.parameters() if p.requires_grad]
        assert model.parameter_count() == sum(p.numel() for p in trained)
        assert model.operations() == sum(p.numel() for p in trained if p.dim() > 1)
    else:
        known = {"last": (0, 1), "seasonal-7": (0, 1), "mean-5": (0, 5), "ar-3": (4, 3), "ridge-6": (7, 6)}
        assert (model.parameter_count(), model.operations()) == known[name]
