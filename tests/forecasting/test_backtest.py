"""Rolling origins, error by horizon, intervals and divergence, against loops that look at one number at a time."""

import math

import numpy as np
import pytest
from command import good
from hypothesis import given
from hypothesis import strategies as st

from elman.forecasting import backtest as module
from elman.forecasting.backtest import Backtest, backtest, divergence_step, mase_scale
from elman.forecasting.fit import fit_forecaster
from elman.forecasting.series import Series, sine
from elman.forecasting.timeline import IndexGrid


def of(values, unknown=()):
    known = np.ones(len(values), bool)
    known[list(unknown)] = False
    return Series("x", np.array(values, float), known, IndexGrid())


def test_every_origin_and_every_target_that_was_observed():
    one = of(sine(60, seed=2).values, unknown=(44, 45, 52))
    model = fit_forecaster("ar-3", one.values[:40])
    test = backtest(model, one, 40, 58, 6)
    origins = [t for t in range(39, 57) if t not in (44, 45, 52)]
    assert test.origins.tolist() == origins
    squares = {k: [] for k in range(1, 7)}
    for row, t in enumerate(origins):
        path = model.forecast(one.values[: t + 1], 6)
        for k in range(1, 7):
            if t + k < 58 and t + k not in (44, 45, 52):
                squares[k].append((one.values[t + k] - path[k - 1]) ** 2)
                assert test.errors[row, k - 1] == pytest.approx(one.values[t + k] - path[k - 1])
            else:
                assert math.isnan(test.errors[row, k - 1])
    np.testing.assert_allclose(test.mse, [np.mean(squares[k]) for k in squares])
    np.testing.assert_allclose(test.mae, [np.mean(np.sqrt(squares[k])) for k in squares])


def test_blocks_of_origins_are_the_parts_of_the_error_over_all_horizons():
    one = of(sine(60, seed=2).values, unknown=(44, 45, 52))
    test = backtest(fit_forecaster("ar-3", one.values[:40]), one, 40, 58, 6)
    parts = [0.0] * 4
    for row, column in np.argwhere(~np.isnan(test.errors)):
        block = max(b for b in range(4) if row >= b * len(test.origins) // 4)
        targets = (~np.isnan(test.errors[:, column])).sum()
        parts[block] += test.errors[row, column] ** 2 / targets / 6
    assert test.block_costs(4) == pytest.approx(parts)
    assert test.block_costs(4).sum() == pytest.approx(test.mse.mean())
    assert test.block_costs(0).shape == (0,)


def test_a_prediction_that_is_no_number_is_infinitely_wrong():
    one = of(sine(30).values)
    test = backtest(
        fit_forecaster("ar-3", one.values[:20]), one, 2, 30, 2
    )  # the first origin has seen two values of three
    assert np.isinf(test.errors[0, 0])
    assert np.isfinite(test.errors[2:, 0]).all()
    assert np.isinf(test.mse[0])


def test_many_origins_are_thinned_out_evenly(monkeypatch):
    monkeypatch.setattr(module, "MAX_ORIGINS", 5)
    one = of(sine(60).values)
    assert backtest(fit_forecaster("last", one.values[:20]), one, 20, 60, 2).origins.tolist() == [19, 28, 38, 48, 58]


def made(errors):
    return Backtest(np.arange(len(errors)), np.zeros_like(errors), errors)


@given(
    st.lists(st.integers(-9, 9), min_size=1, max_size=40),
    st.sampled_from([0.5, 0.8, 0.9, 0.95]),
)
def test_an_interval_holds_its_share_of_one_more(errors, level):
    """The definition: of the n errors and one more, at least the share `level` are within it, and no less would do."""
    width = made(np.array(errors, float)[:, None]).half_widths(level)[0]
    n, sizes = len(errors), sorted(abs(e) for e in errors)
    needed = level * (n + 1) - 1e-9
    if math.isinf(width):
        assert n < needed
    else:
        assert sum(s <= width for s in sizes) >= needed
        assert sum(s < width for s in sizes) < needed


def test_coverage_of_independent_errors_is_what_was_asked_for():
    rng = np.random.default_rng(0)
    calibration, test = made(rng.normal(size=(400, 3))), made(rng.normal(size=(4000, 3)))
    for level in (0.8, 0.95):
        np.testing.assert_allclose(test.coverage(calibration.half_widths(level)), level, atol=0.03)


def test_coverage_counts_what_is_there():
    errors = np.array([[1.0, np.nan], [-2.0, np.nan], [3.0, 0.5]])
    np.testing.assert_array_equal(made(errors).coverage(np.array([2.0, 0.4])), [2 / 3, 0])
    assert np.isnan(made(np.full((2, 1), np.nan)).mse[0])


@pytest.mark.parametrize(
    ("path", "step"),
    [([0, 1, 2, 3], None), ([0.5, 4.01, 0], 2), ([-2.0, -2.1], 2), ([float("nan")], 1), ([1, float("inf")], 2)],
)
def test_a_run_diverges_where_it_leaves_the_range_by_more_than_the_range(path, step):
    assert divergence_step(np.array(path, float), np.array([0.0, 2, 1])) == step


@given(st.lists(st.integers(-9, 9), min_size=4, max_size=20), st.integers(1, 3), st.sets(st.integers(0, 3)))
def test_the_scale_of_mase(values, season, unknown):
    known = np.array([i not in unknown for i in range(len(values))])
    pairs = [abs(values[i] - values[i - season]) for i in range(season, len(values)) if known[i] and known[i - season]]
    got = mase_scale(np.array(values, float), known, season)
    assert got == pytest.approx(np.mean(pairs)) if pairs else math.isnan(got)


@given(st.integers(2, 14), st.floats(1e-30, 1e30))
def test_what_repeats_but_for_its_rounding_has_no_error_and_no_scale(season, scale):
    rng = np.random.default_rng(season)
    values = scale * np.tile(rng.normal(size=season), 20)
    values *= 1 + rng.integers(-8, 9, len(values)) * np.finfo(float).eps
    assert np.ptp(values[::season]) > 0
    assert mase_scale(values, np.ones(len(values), bool), season) == 0
    model = fit_forecaster(f"seasonal-{season}", values[: 10 * season], season=season)
    test = backtest(model, of(values), 10 * season, len(values), 3)
    assert not test.mse.any()
    assert not test.half_widths(0.8).any()


def test_of_models_of_a_sine_without_noise_none_is_better(tmp_path):
    wave = "".join(f"{math.sin(2 * math.pi * n / 12)!r}\n" for n in range(240))
    (tmp_path / "wave.csv").write_text(f"y\n{wave}", encoding="utf-8")
    arguments = ("forecast", "wave.csv", "--season", 12, "--model", "ar-4", "--horizon", 4, "-q")
    done = good(*arguments, "--json", folder=tmp_path)
    (one,) = done.json["series"]
    errors = {model["model"]: model["mse"] for model in one["models"]}
    assert errors["ar-4"] == errors["seasonal-12"] == [0, 0, 0, 0]
    assert (one["mase_scale"], one["models"][0]["mase"]) == (0, [None] * 4)
    assert not any("better" in line or "smaller" in line for line in one["verdict"])
    assert "MASE (none: every season repeats the one before)" in good(*arguments, folder=tmp_path).out


@pytest.mark.parametrize("offset", [0, 1e6, -1e9, 1e11])
def test_noise_on_a_large_value_is_no_rounding(offset):
    noise = np.random.default_rng(0).normal(0, 0.3, 300)
    one = of(offset + noise)
    test = backtest(fit_forecaster("last", one.values[:200]), one, 200, 300, 1)
    expected = np.mean(np.diff(noise[199:]) ** 2)
    assert test.mse[0] == pytest.approx(expected, rel=1e-3)
    assert mase_scale(one.values, one.observed, 1) == pytest.approx(np.abs(np.diff(noise)).mean(), rel=1e-3)
