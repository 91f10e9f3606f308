"""Grids of time, gaps and the rules that fill them, the sine of Zhang et al. 2021."""

from datetime import date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.errors import ConfigError, DataError
from elman.forecasting.series import series, sine
from elman.forecasting.timeline import FixedStepGrid, MonthGrid, NumberGrid, WeekdayGrid, infer_grid

NAN = float("nan")


def stamps(*texts):
    return np.array(texts, "datetime64[us]")


def days(n, first=date(2024, 2, 26), leave_out=()):
    return stamps(*(str(first + timedelta(i)) for i in range(n) if i not in leave_out))


def a_month_later(day, months):
    """By the calendar, with datetime alone: the same day, or the last where it was the last."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    after = date(year + (month == 11), (month + 1) % 12 + 1, 1) - timedelta(1)
    last = (day + timedelta(1)).day == 1
    return after if last else day.replace(year=year, month=month + 1)


def test_a_grid_of_days_goes_on_over_a_leap_day_and_a_new_year():
    grid = infer_grid(days(3))
    assert [grid.at(i) for i in (0, 3, 4, 310)] == ["2024-02-26", "2024-02-29", "2024-03-01", "2025-01-01"]
    assert grid.season == 7


@pytest.mark.parametrize(
    ("first", "season"),
    [("2023-12-31", 12), ("2024-01-31", 12), ("2024-02-29", 12), ("2023-05-01", 12), ("2024-01-15", 12)],
)
def test_a_grid_of_months_follows_the_calendar(first, season):
    day = date.fromisoformat(first)
    each = [str(a_month_later(day, i)) for i in range(30)]
    grid = infer_grid(stamps(*each[:5]))
    assert isinstance(grid, MonthGrid)
    assert [grid.at(i) for i in range(30)] == each
    assert grid.season == season


def test_quarters_and_years_have_steps_of_months():
    assert infer_grid(stamps("2023-03-31", "2023-06-30", "2023-09-30")).season == 4
    years = infer_grid(stamps("2001-01-01", "2002-01-01", "2003-01-01"))
    assert years.at(5) == "2006-01-01"
    assert years.season is None


def test_weekends_are_no_gaps_where_no_stamp_is_on_one():
    each = [date(2024, 1, 1) + timedelta(i) for i in range(60)]
    working = [day for day in each if day.weekday() < 5]
    grid = infer_grid(stamps(*map(str, working[:20])))
    assert isinstance(grid, WeekdayGrid)
    assert [grid.at(i) for i in range(len(working))] == [str(day) for day in working]
    assert isinstance(infer_grid(stamps(*map(str, each[:20]))), FixedStepGrid)


@pytest.mark.parametrize(("minutes", "season"), [(60, 24), (30, 48), (15, 96), (1, 60), (7, None)])
def test_hours_and_minutes(minutes, season):
    first = datetime(2024, 12, 31, 22, 0)
    each = [(first + timedelta(minutes=minutes * i)).isoformat() for i in range(20)]
    grid = infer_grid(stamps(*each[:4]))
    assert [grid.at(i) for i in range(20)] == each
    assert grid.season == season


@given(st.floats(-1e6, 1e6), st.floats(0.001, 1e3), st.lists(st.integers(1, 4), min_size=3, max_size=30))
def test_numbers_lie_on_a_grid_of_their_usual_distance(first, step, distances):
    distances = [1] * (len(distances) + 1) + distances
    positions = np.concatenate(([0], np.cumsum(distances)))
    grid = infer_grid(first + step * positions)
    assert isinstance(grid, NumberGrid)
    np.testing.assert_array_equal(grid.positions(first + step * positions), positions)


def test_stamps_that_are_not_even_have_no_grid():
    assert infer_grid(stamps("2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04T07:00")) is None
    assert infer_grid(np.array([1.0, 2.0, 3.5])) is None
    assert infer_grid(np.array([1e-320, 2e-320, 1.0])) is None


def test_missing_values_are_refused_by_name_and_row():
    with pytest.raises(DataError, match=r"sales, row 3 \(2024-02-28\): the value is missing, the first of 2 like it"):
        series("sales", np.array([1.0, 2, NAN, 4, NAN, 6]), days(6))
    with pytest.raises(DataError, match="sales, row 7: the value is missing; fill it in"):
        series("sales", np.array([1.0, NAN, 3]), rows=np.array([4, 7, 9]))


def test_a_row_that_is_missing_is_a_missing_value():
    values, at = np.array([1.0, 2, 5, 6]), days(6, leave_out=(2, 3))
    with pytest.raises(
        DataError, match="between rows 2 and 3: 2024-02-28 is missing, one of 2 such rows; add them, or"
    ):
        series("sales", values, at)
    filled = {rule: series("sales", values, at, rule) for rule in ("previous", "linear", "skip")}
    assert filled["previous"].values.tolist() == [1, 2, 2, 2, 5, 6]
    assert filled["linear"].values.tolist() == [1, 2, 3, 4, 5, 6]
    assert filled["linear"].observed.tolist() == [True, True, False, False, True, True]
    assert filled["skip"].values.tolist() == [1, 2, 5, 6]
    assert filled["skip"].observed.all()
    assert [filled["skip"].timeline.at(i) for i in (1, 2, 4)] == ["2024-02-27", "2024-03-01", "2024-03-03"]


@given(st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=2, max_size=40))
def test_filling_changes_nothing_that_is_known_and_looks_back_alone(found):
    values = np.array([NAN if v is None else v for v in found])
    there = [i for i, v in enumerate(found) if v is not None]
    if not there:
        with pytest.raises(DataError, match=r"is a number"):
            series("x", values, missing="previous")
        return
    inside = found[there[0] : there[-1] + 1]
    got = series("x", values, missing="previous")
    latest = []
    for value in inside:
        latest.append(latest[-1] if value is None else value)
    assert got.values.tolist() == latest
    assert got.observed.tolist() == [v is not None for v in inside]


@pytest.mark.parametrize(
    ("values", "at", "message"),
    [
        ([1, float("inf"), 2], None, "x, row 2: an infinite value"),
        ([NAN, NAN], None, "x: none of its 2 values is a number"),
        ([1, 2, 3], stamps("2024-01-01", "2024-01-02", "2024-01-02"), "x, rows 2 and 3: 2024-01-02 occurs twice"),
        ([1, 2, 3, 4], stamps("2024-01-01", "2024-01-02", "2024-01-03", "2024-01-03T05:00"), "neither the usual step"),
        ([1, 2, 3, 4], np.array([1.0, 2, 3, 1e8]), "is missing, one of 99,999,996 such rows"),
    ],
)
def test_values_that_cannot_be_used(values, at, message):
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        series("x", np.array(values, float), at)


def test_what_is_left_out_at_the_ends_is_counted_and_the_rows_keep_their_numbers():
    got = series("x", np.array([NAN, NAN, 3, 4, NAN]))
    assert got.values.tolist() == [3, 4]
    assert [got.timeline.at(i) for i in range(3)] == ["3", "4", "5"]
    assert got.left_out == 3
    skipped = series("x", np.array([1.0, NAN, 3, NAN, 5]), missing="skip")
    assert [skipped.timeline.at(i) for i in range(4)] == ["1", "3", "5", "6"]


def test_the_thirtieth_of_every_month():
    grid = infer_grid(stamps("2022-11-30", "2022-12-30", "2023-01-30"))
    assert [grid.at(i) for i in range(2, 6)] == ["2023-01-30", "2023-02-28", "2023-03-30", "2023-04-30"]


def test_a_gap_of_ages_is_not_filled():
    with pytest.raises(DataError, match="is missing, one of"):
        series("x", np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 3, 1e8]), "previous")


def test_skipping_takes_uneven_rows_as_steps():
    got = series("x", np.array([1.0, 2, 3]), np.array([1.0, 2, 3.5]), "skip")
    assert [got.timeline.at(i) for i in range(4)] == ["1", "2", "3", "4"]


def test_an_unknown_rule():
    with pytest.raises(ConfigError, match="did you mean linear"):
        series("x", np.array([1.0, 2]), missing="linea")


def test_the_sine_is_the_published_one():
    clean, noisy = sine(noise=0), sine(seed=3)
    t = np.arange(1, 1001)
    np.testing.assert_allclose(clean.values, [np.sin(0.01 * i) for i in t])
    noise = noisy.values - clean.values
    assert 0.19 < noise.std() < 0.21
    assert abs(noise.mean()) < 0.02
    assert noisy.train_size == 604
    assert noisy.noise_variance == pytest.approx(0.04)
    assert not np.array_equal(sine(seed=4).values, noisy.values)
    np.testing.assert_array_equal(sine(seed=3).values, noisy.values)
    with pytest.raises(ConfigError, match="at least 2 values"):
        sine(1)
