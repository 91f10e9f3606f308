"""What the experiments on counts and series measure, against sums over everything and cases that are exact."""

import math
from itertools import product

import numpy as np
import pytest

import elman
from elman.reproduce.experiments import markov, reverse, sine, smoothing, textbook


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A small text in the place of the book."""
    (tmp_path / "t.txt").write_text("tea at ate tat eat " * 9, encoding="utf-8")
    corpus = elman.read_corpus([str(tmp_path / "t.txt")], held_out=0, min_count=1, unknown=False)
    monkeypatch.setattr(markov, "book", lambda _: corpus)
    return corpus


@pytest.mark.parametrize("order", [2, 3])
def test_bits_about_a_later_letter_are_the_mutual_information_of_the_chain(small, order):
    """Over every path of letters between, each by its own chance."""
    ids, V = small.train.ids, len(small.vocab)
    model = elman.NGram.fit(elman.TextTask.of(small), ids, order=order)
    grams = [tuple(ids[i : i + order - 1].tolist()) for i in range(len(ids) - order + 2)]
    k, contexts = 3, sorted(set(grams))
    expected = np.zeros((len(contexts), V))
    for row, context in enumerate(contexts):
        for path in product(range(V), repeat=k):
            read, chance = list(context), 1.0
            for token in path:
                chance *= model.next_probabilities(np.array([read[-(order - 1) :]]))[0, token]
                read.append(token)
            expected[row, path[-1]] += chance
    weight = np.array([grams.count(c) for c in contexts]) / len(grams)
    mean = weight @ expected
    bits = sum(
        w * sum(p * math.log2(p / m) for p, m in zip(row, mean, strict=True))
        for w, row in zip(weight, expected, strict=True)
    )
    assert markov.information(order)["bits"][k - 1] == pytest.approx(bits, abs=1e-10)


def test_a_chain_of_letters_equals_the_powers_of_its_matrix(small):
    assert 0 <= markov.distance_from_powers() < 1e-14


def test_the_share_of_what_was_never_seen():
    assert smoothing._missing([1, 2, 3, 1, 2], [1, 2, 1, 3], 1) == 0
    assert smoothing._missing([1, 2, 3, 1, 2], [1, 2, 1, 3], 2) == 2 / 3  # 21 and 13 are new, 12 is not
    assert smoothing._missing([1, 2, 3, 1, 2], [2, 3, 1, 4], 3) == 1 / 2


def test_what_an_error_passes_on_is_exact_for_the_last_value_and_for_a_line():
    found = elman.forecast(elman.sine(300, seed=1), ["ar-2"], horizon=4)
    passed = {entry.name: sine.error_feedback(entry.by_seed[0].test.errors) for entry in found.models}
    assert passed["last"] == pytest.approx(1.0)
    values = elman.sine(300, seed=1).values[: found.train_size]
    rows = np.column_stack((np.ones(len(values) - 2), values[1:-1], values[:-2]))
    assert passed["ar-2"] == pytest.approx(np.linalg.lstsq(rows, values[2:], rcond=None)[0][1])


def test_predictions_of_a_chart_stand_where_the_values_do():
    """Of a series that the forecaster predicts exactly, k steps before and one."""
    told = sine.forecast(0, ["mlp-reference-4", "ridge-16"], steps=4)
    values = elman.sine(seed=0).values
    lines = sine._data(told).series
    assert lines[1].y == told["mlp-reference-4"]["ahead"][0]
    errors = values[lines[1].x[0] - 1 :] - np.array(lines[1].y)
    assert np.mean(errors**2) == pytest.approx(told["mlp-reference-4"]["mse"][0])
    for line, k in zip(sine._overlay(told)[0].series, (1, 4), strict=True):
        observed = values[np.array(line.x) - 1]
        assert np.mean((observed - line.y) ** 2) == pytest.approx(told["mlp-reference-4"]["mse"][k - 1])


def test_the_series_with_a_cause_is_easier_forward_for_kneser_ney_alone():
    for seed in range(2):
        forward, back = reverse.score_causal_bigram(seed, "kneser-ney")
        assert forward < back
        forward, back = reverse.score_causal_bigram(seed, "laplace")
        assert forward > back


def test_windows_are_scored_as_the_plots_are(small, monkeypatch):
    """One prediction at a time from a context that begins with its window; means of exp(cost) over batches."""
    monkeypatch.setattr(textbook, "SCORED", 7)
    monkeypatch.setattr(textbook, "BATCH", 3)
    monkeypatch.setattr(textbook, "STEPS", 4)
    ids, learnt = small.train.ids, 20
    model = elman.NGram.fit(elman.TextTask.of(small), ids[:learnt], order=3)
    costs = []
    for place in range(learnt, learnt + 7):
        read, nats = [-1, -1], 0.0
        for i in range(place, place + 4):
            read.append(int(ids[i]))
            nats -= math.log(model.next_probabilities(np.array([read[-2:]]))[0, ids[i + 1]])
        costs.append(nats / 4)
    expected = np.mean([math.exp(np.mean(costs[:3])), math.exp(np.mean(costs[3:6])), math.exp(costs[6])])
    assert textbook.score_windows(model, ids, learnt) == pytest.approx(expected)


def test_means_over_series_stand_beside_means():
    each = [{"mlp-reference-4": {"mse": [m] * 64, "free_mse": m, "diverged": None}} for m in (0.05, 0.05, 0.062)]
    first, *_ = sine._by_steps(4, each)
    assert (first.kind, first.statistic, first.earlier_run) == ("earlier run", "mean", 0.054)
    assert first.tolerance == pytest.approx(0.0005)
    assert first.verdict == "agrees"  # the mean; the median, 0.05, would not


@pytest.mark.parametrize(
    ("figure", "half"), [("0.054", 0.0005), ("0.70", 0.005), ("1.8", 0.05), ("6", 0.5), ("1.2e8", 5e6)]
)
def test_half_a_unit_of_the_last_digit(figure, half):
    assert sine._half(figure) == pytest.approx(half)
