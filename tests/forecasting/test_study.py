"""The whole procedure on a series: nothing looks ahead, every figure is that of its parts, words say it."""

import json

import numpy as np
import pytest
from command import elman, good, one_line

from elman.errors import ConfigError, DataError
from elman.forecasting import learn
from elman.forecasting.backtest import backtest, mase_scale
from elman.forecasting.fit import fit_forecaster
from elman.forecasting.series import Series, series, sine
from elman.forecasting.study import display_horizons, forecast, to_dict, verdict
from elman.forecasting.timeline import IndexGrid

QUICK = ["ridge-8", "ar-4", "mean-4"]


@pytest.fixture(autouse=True)
def little_training(monkeypatch):
    for budget in ("MLP_BUDGET", "RECURRENT_BUDGET", "MULTI_STEP_BUDGET"):
        monkeypatch.setattr(learn, budget, learn.Budget(3, 1e-2))


def one(n=200, seed=0):
    return series("x", sine(n, seed=seed).values)


def test_every_figure_is_that_of_a_model_fitted_to_the_training_part():
    x = one()
    study = forecast(x, QUICK, horizon=6)
    assert study.train_size == 160
    assert [entry.name for entry in study.models] == ["last", *QUICK]
    for entry in study.models:
        test = backtest(fit_forecaster(entry.name, x.values[:160], horizon=6), x, 160, 200, 6)
        np.testing.assert_array_equal(entry.mse, test.mse)
        trial = entry.by_seed[0]
        free = fit_forecaster(entry.name, x.values[:160], horizon=6).forecast(x.values[:160], 40)
        assert trial.rollout_mse == pytest.approx(np.mean((free - x.values[160:]) ** 2))
        earlier = backtest(fit_forecaster(entry.name, x.values[:112], horizon=6), x, 112, 160, 6)
        np.testing.assert_array_equal(trial.calibration.mse, earlier.mse)
        for level in (0.8, 0.95):
            inside = np.abs(test.errors) <= earlier.half_widths(level)
            wanted = [inside[~np.isnan(test.errors[:, k]), k].mean() for k in range(6)]
            np.testing.assert_allclose(trial.coverage(level), wanted)
    assert study.mase_scale == mase_scale(x.values[:160], x.observed[:160], 1)


def test_the_forecast_is_that_of_the_chosen_model_fitted_to_everything():
    x = one()
    study = forecast(x, QUICK, horizon=6)
    assert study.chosen == "ridge-8"
    np.testing.assert_array_equal(study.forecast, fit_forecaster("ridge-8", x.values, horizon=6).forecast(x.values, 6))
    np.testing.assert_array_equal(study.half_width(0.8), study.model("ridge-8").by_seed[0].test.half_widths(0.8))


def test_the_choice_does_not_look_at_what_is_held_out():
    x = one(300)
    study = forecast(x, horizon=8)
    other = x.values.copy()
    other[study.train_size :] = np.random.default_rng(1).normal(0, 30, len(x) - study.train_size)
    again = forecast(Series("x", other, x.observed, IndexGrid()), horizon=8)
    assert study.automatic
    assert again.chosen == study.chosen
    assert [e.calibration_mse for e in again.models] == [e.calibration_mse for e in study.models]
    assert again.best.name != study.best.name or not np.allclose(again.best.mse, study.best.mse)
    tested = {e.name: e.by_seed[0].calibration for e in study.models}
    assert study.chosen == min((n for n, c in tested.items() if c), key=lambda n: np.mean(tested[n].mse))


def test_ridge_of_128_values_is_near_the_noise_floor_on_the_sine():
    """At most 0.055 at 64 steps, the median over five series; the noise floor is 0.04."""
    far = [float(forecast(sine(seed=s), ["ridge-128"], horizon=64).model("ridge-128").mse[63]) for s in range(5)]
    assert np.median(far) <= 0.055


def test_an_automatic_choice_leaves_out_what_does_not_fit_and_says_so():
    study = forecast(one(60), horizon=4)
    names = [entry.name for entry in study.models]
    assert "ridge-128" not in names
    assert "ar-4" in names
    assert any("ridge-128 needs more than" in note for note in study.notes)
    with pytest.raises(DataError, match="ridge-128 needs more than"):
        forecast(one(60), ["ridge-128"], horizon=4)


def test_seeds_give_the_median_and_the_naive_ones_need_none():
    study = forecast(one(), ["mlp-4", "ar-4"], horizon=3, seeds=3, seed=5)
    assert {e.name: [t.seed for t in e.by_seed] for e in study.models} == {
        "last": [5], "mlp-4": [5, 6, 7], "ar-4": [5],
    }  # fmt: skip
    each = [t.test.mse for t in study.model("mlp-4").by_seed]
    np.testing.assert_array_equal(study.model("mlp-4").mse, np.median(each, 0))
    assert len({tuple(m) for m in each}) == 3


def test_a_season_is_told_by_the_dates_and_its_naive_forecast_stands_beside():
    stamps = np.datetime64("2024-01-01", "us") + np.arange(120) * np.timedelta64(1, "D")
    values = np.tile([1.0, 2, 3, 4, 5, 9, 8], 18)[:120] + np.random.default_rng(0).normal(0, 0.1, 120)
    study = forecast(series("week", values, stamps), ["seasonal", "last"])
    assert study.season == 7
    assert study.horizon == 12
    assert study.best.name == "seasonal-7"
    assert study.mase_scale == pytest.approx(np.abs(values[7:96] - values[:89]).mean())
    assert forecast(series("week", values, stamps), ["seasonal"], season=5).chosen == "seasonal-5"


def test_a_season_of_one_step_is_none():
    x = one()
    study, without = forecast(x, ["mean-4"], season=1), forecast(x, ["mean-4"])
    assert [each.name for each in study.models] == ["last", "mean-4"]
    assert (study.season, study.horizon) == (None, without.horizon)


@pytest.mark.parametrize("growth", [1.3, 0.8])
def test_to_follow_a_series_out_of_its_training_range_is_no_divergence(growth):
    values = growth ** np.arange(60.0)
    study = forecast(series("grows", values if growth > 1 else -1 / values), ["ar-4"], horizon=12)
    assert study.model("ar-4").by_seed[0].rollout == pytest.approx(study.series.values[48:], rel=1e-6)
    assert not any("diverges" in line for line in verdict(study))


def test_filled_values_are_no_origins_and_no_targets():
    values = sine(200).values
    values[[170, 180]] = np.nan
    study = forecast(series("x", values, missing="linear"), ["ar-4"], horizon=3)
    test = study.model("ar-4").by_seed[0].test
    assert not {170, 180} & set(test.origins)
    assert np.isnan(test.errors[test.origins == 169, 0]).all()
    study = forecast(series("x", np.where(np.arange(200) == 159, np.nan, sine(200).values), missing="linear"), ["ar-4"])
    assert study.train_size == 159  # the training part does not end on a value that a later one filled in


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"horizon": 41}, DataError, "a horizon of 41 steps cannot be measured on 40 held-out values"),
        ({"horizon": 0}, ConfigError, "give at least 1 step"),
        ({"held_out": 200}, DataError, "cannot be split"),
        ({"held_out": 1.5}, ConfigError, "give a share"),
        ({"held_out": float("nan")}, ConfigError, "held_out is nan, and must be a finite number"),
        ({"models": ["gur"]}, ConfigError, "did you mean gru"),
        ({"models": ["seasonal"]}, ConfigError, "give --season"),
    ],
)
def test_what_cannot_be(arguments, error, message):
    with pytest.raises(error, match=message):
        forecast(one(), **({"models": ["ar-4"]} | arguments))


def test_words_name_what_diverges_what_is_better_and_how_often_intervals_hold():
    x = np.concatenate((np.exp(np.linspace(0, 4, 80)), np.exp(4) + np.zeros(20)))
    study = forecast(series("growth", x + np.random.default_rng(0).normal(0, 0.01, 100)), ["ar-2", "mean-2"], horizon=4)
    words = " ".join(verdict(study))
    assert "ar-2, given with --model, makes the forecast." in words
    assert "ar-2 diverges when it is fed its own predictions" in words
    assert "do not use ar-2" in words
    assert "On the held-out values" in words
    assert "80% intervals hold" in words
    better = " ".join(verdict(forecast(one(), ["ridge-8"], horizon=4)))
    assert "less than that of the best naive forecast, last" in better
    assert "diverges" not in better


def test_a_forecaster_is_better_by_more_than_chance_where_the_held_out_values_show_it():
    """Of a series that swings from side to side: repeating the last value is bad; ar-2 and ar-3 are alike."""
    rng, x = np.random.default_rng(0), [0.0, 0.0]
    for _ in range(1200):
        x.append(-0.8 * x[-1] + rng.normal())
    found = verdict(forecast(series("x", np.array(x)), ["ar-3", "ar-2"], horizon=2))
    naive = next(line for line in found if "naive" in line)
    assert naive.startswith("The squared error of ar-3 is")
    assert "chance" not in naive
    other = verdict(forecast(series("x", np.array(x)), ["last", "ar-2"], horizon=2))
    assert other[1].startswith(
        "On the held-out values ar-2 is better than last by more than chance: mean squared error"
    )
    alike = [line for line in found if "ar-2" in line]
    assert all("which may be chance (p = " in line for line in alike)
    short = verdict(forecast(series("x", np.array(x[:200])), ["ar-3", "ar-2"], horizon=20))
    assert "which may be chance, as there are too few held-out values to test it" in " ".join(short)


def test_a_short_training_part_has_no_intervals_and_says_so():
    study = forecast(one(20), ["mean-8"], horizon=2, held_out=5)
    assert study.model("mean-8").by_seed[0].calibration is not None
    study = forecast(one(20), ["mlp-12"], horizon=2, held_out=5)
    assert study.model("mlp-12").by_seed[0].calibration is None
    assert "No intervals" in " ".join(verdict(study))


def test_horizons_that_are_shown():
    assert display_horizons(64) == [1, 4, 16, 64]
    assert display_horizons(14) == [1, 4, 14]
    assert display_horizons(1) == [1]


def test_old_names_of_results_give_the_new_ones_and_a_warning():
    study = forecast(one(), ["ar-4"], horizon=3)
    series, model = study.series, study.models[1]
    seed = model.by_seed[0]
    for owner, old, new in (
        (series, "known", series.observed), (series, "noise", None), (series, "cut", None),
        (study, "cut", 160), (study, "entries", study.models), (study, "scale", study.mase_scale),
        (model, "trials", model.by_seed), (model, "chosen_by", model.calibration_mse),
        (seed, "free", seed.rollout), (seed, "free_mse", seed.rollout_mse), (seed, "diverged", seed.diverged_at),
    ):  # fmt: skip
        with pytest.warns(DeprecationWarning, match=rf"\.{old} is now .*; the old name goes in 0\.3"):
            assert getattr(owner, old) is new or getattr(owner, old) == new
    names: list[str] = []
    with pytest.warns(DeprecationWarning, match="told=.* is now on_progress"):
        forecast(one(), ["ar-4"], horizon=3, told=names.append)
    assert names == ["last", "ar-4", "ar-4 on all values"]
    with pytest.warns(DeprecationWarning, match="entry is now ForecastResult.model"):
        assert study.entry("ar-4") is model
    with pytest.warns(DeprecationWarning, match="interval is now ForecastResult.half_width"):
        np.testing.assert_array_equal(study.interval(0.8), study.half_width(0.8))


def test_a_study_is_json():
    study = forecast(one(), ["ar-4"], horizon=3)
    told = json.loads(json.dumps(to_dict(study)))
    assert told["models"][1]["mse"] == study.model("ar-4").mse.tolist()
    assert [step["ds"] for step in told["forecast"]] == ["201", "202", "203"]
    low, high = told["forecast"][0]["intervals"]["80%"]
    assert low < told["forecast"][0]["value"] < high


# The command line


SALES = "date,shop,café\n" + "".join(
    f"{np.datetime64('2024-01-01') + i},{'' if i == 30 else 100 + 20 * (i % 7 == 5) + i % 3},{50 + (i * i) % 17}\n"
    for i in range(120)
    if i not in (60, 61)
)


def test_a_table_with_two_series_dates_and_a_gap(tmp_path):
    (tmp_path / "sales.csv").write_text(SALES, encoding="utf-8")
    done = good(
        "forecast", "sales.csv", "--missing", "previous", "--models", "ridge-7,ar-3", "--horizon", "5", folder=tmp_path
    )
    assert "shop: 96 training and 24 held-out values, 3 filled" in done.out
    assert "ridge-7 *" in done.out
    assert "seasonal-7" in done.out
    folder = tmp_path / "runs" / "sales-forecast-1"
    rows = (folder / "forecast.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "unique_id,ds,model,value,lo-80,hi-80,lo-95,hi-95"
    assert [row.split(",")[:3] for row in rows[1:3]] == [
        ["shop", "2024-04-30", "ridge-7"],
        ["shop", "2024-05-01", "ridge-7"],
    ]
    assert len(rows) == 11
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert [s["series"] for s in report["series"]] == ["shop", "café"]
    assert float(rows[1].split(",")[3]) == report["series"][0]["forecast"][0]["value"]
    page = (folder / "report.md").read_text(encoding="utf-8")
    for row in report["series"][0]["models"]:
        cells = next(line for line in page.splitlines() if line.startswith(f"| {row['model']}")).split(" | ")
        assert float(cells[1].replace(",", "")) == pytest.approx(row["mse"][0], rel=0.01)
    pictures = sorted(p.name for p in folder.glob("*.png"))
    assert pictures == [
        f"{s}-{p}.png" for s in ("café", "shop") for p in ("ahead", "errors", "forecast", "predictions")
    ]
    for picture in folder.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_short_table_gets_a_report_although_not_every_figure_exists(tmp_path):
    (tmp_path / "short.csv").write_text("y\n" + "\n".join(map(str, range(20))) + "\n1\n", encoding="utf-8")
    good("forecast", "short.csv", "--model", "mlp-12,auto", "--run", "r", folder=tmp_path)
    models = json.loads((tmp_path / "r" / "report.json").read_text(encoding="utf-8"))["series"][0]["models"]
    assert {m["model"]: m["calibration_mse"] for m in models}["mlp-12"] is None


def test_one_series_that_cannot_be_is_left_out_and_named(tmp_path):
    rows = "".join(f"{i},{i * i % 7},1\n" for i in range(40))
    (tmp_path / "t.csv").write_text("t,good,dull\n" + rows, encoding="utf-8")
    done = good("forecast", "t.csv", "--time", "t", "--model", "ar-2", "-q", folder=tmp_path)
    assert "left out: dull: all of its 32 training values are 1" in done.out
    assert (tmp_path / "runs" / "t-forecast-1" / "good-errors.png").exists()


def test_names_of_files_are_short_and_never_collide(tmp_path):
    ids = ("a/b", "a?b", "A-b", "a-b-2", "-", "中" * 200)
    rows = "".join(f'"{name}",{i},{i * i % 7}\n' for name in ids for i in range(20))
    (tmp_path / "t.csv").write_text("unique_id,ds,y\n" + rows, encoding="utf-8")
    good("forecast", "t.csv", "--model", "last", "-q", "--pictures", "--run", "r", folder=tmp_path)
    names = [p.name.casefold() for p in (tmp_path / "r").glob("*-errors.png")]
    assert len(set(names)) == len(ids)
    assert not any(name.startswith("-") for name in names)


def test_nothing_to_choose_on_is_said(tmp_path):
    (tmp_path / "t.csv").write_text("y\n" + "1\n" * 60 + "2\n4\n3\n7\n" * 10, encoding="utf-8")
    done = good("forecast", "t.csv", "-q", folder=tmp_path)
    assert "last, the naive forecast, since there are too few training values to choose on" in done.out


def test_years_that_no_picture_knows(tmp_path):
    rows = "".join(f"9999-12-{day},{day * day % 5}\n" for day in range(10, 31))
    (tmp_path / "t.csv").write_text("ds,y\n" + rows, encoding="utf-8")
    good("forecast", "t.csv", "--model", "ar-2", "-q", "--horizon", "4", "--run", "r", folder=tmp_path)
    assert (tmp_path / "r" / "y-forecast.png").exists()


def test_errors_of_zero_have_a_picture_without_a_warning(tmp_path):
    (tmp_path / "t.csv").write_text("y\n" + "1\n2\n3\n" * 20, encoding="utf-8")
    done = good("forecast", "t.csv", "--season", "3", "--model", "seasonal-3", "-q", "--run", "r", folder=tmp_path)
    assert "is better" not in done.out
    assert (tmp_path / "r" / "y-errors.png").exists()


def test_compare_takes_a_series_too(tmp_path):
    done = good("compare", "sine", "--models", "ar-4,ridge-8", "--seeds", "2", "--json", "-q", folder=tmp_path)
    assert [m["model"] for m in done.json["series"][0]["models"]] == ["last", "ar-4", "ridge-8"]
    assert (tmp_path / "runs" / "sine-compare-1" / "report.md").exists()
    refused = elman("compare", "sine", "--hidden", "8", folder=tmp_path)
    assert refused.code == 2
    assert "see elman forecast --help" in one_line(refused)


def test_json_is_one_document_with_nothing_infinite(tmp_path):
    done = good("forecast", "sine", "--model", "ar-4", "--horizon", "3", "--json", "-q", folder=tmp_path)
    report = done.json
    assert report["schema_version"] == 1
    assert report["series"][0]["noise_floor"] == pytest.approx(0.04)
    assert report["series"][0]["models"][1]["model"] == "ar-4"
    assert "Infinity" not in done.out
    assert "NaN" not in done.out
    assert done.err == ""
