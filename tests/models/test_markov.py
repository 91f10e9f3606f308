"""k steps ahead of a Markov chain: powers of a matrix, sums over every path, and what the chain settles at."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from helpers import V, task, tokens
from hypothesis import given
from hypothesis import strategies as st

import elman.models.ngram.markov
from elman import NGram, predict_ahead
from elman.errors import ConfigError, DataError
from elman.models.ngram.smoothing import SMOOTHINGS

TEXT = tokens(150, seed=3, size=5)  # e and f never occur


def chain(order, smoothing="kneser-ney", eps=1.0):
    return NGram.fit(task(), TEXT, order=order + 1, smoothing=smoothing, eps=eps)


def one_step(model, read):
    """P(next | everything read so far), by the protocol of every model."""
    logits, _ = model(torch.tensor([[0, *read]]), model.initial(1))
    return logits[0, -1].exp().numpy()


def by_paths(model, read, k):
    """P(x_{t+k}) as the sum over all V^(k-1) paths of the tokens between."""
    total = np.zeros(V)
    for path in product(range(V), repeat=k - 1):
        chance = math.prod(one_step(model, [*read, *path[:i]])[token] for i, token in enumerate(path))
        total += chance * one_step(model, [*read, *path])
    return total


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_of_order_one_it_is_the_power_of_the_transition_matrix(smoothing):
    model = chain(1, smoothing)
    matrix = np.stack([one_step(model, [token]) for token in range(V)])
    for start in range(V):
        found = predict_ahead(model, np.array([3, start], np.uint8), 12)
        for k in range(1, 13):
            assert found[k - 1] == pytest.approx(np.linalg.matrix_power(matrix, k)[start], abs=1e-12)


def test_of_order_zero_it_is_the_unigram_at_every_step():
    model = chain(0)
    assert predict_ahead(model, TEXT[:3], 4) == pytest.approx(np.tile(one_step(model, [1]), (4, 1)), abs=1e-12)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize(("order", "read"), [(2, [4, 1, 2]), (3, [1, 1, 2, 4]), (2, [6, 5])])
def test_of_higher_orders_it_is_the_sum_over_all_paths(order, read, smoothing):
    model = chain(order, smoothing)
    found = predict_ahead(model, np.array(read, np.uint8), 4)
    for k in range(1, 4):
        assert found[k - 1] == pytest.approx(by_paths(model, read, k), abs=1e-12)
    beyond = [predict_ahead(model, np.array([*read, token], np.uint8), 3)[2] for token in range(V)]
    assert found[3] == pytest.approx(one_step(model, read) @ np.stack(beyond), abs=1e-12)  # Chapman and Kolmogorov


@pytest.mark.parametrize("smoothing", ["kneser-ney", "laplace"])
@pytest.mark.parametrize("read", [[], [2], [2, 1]])
def test_before_the_context_is_full_it_is_what_the_model_predicts_there(read, smoothing):
    model = chain(3, smoothing)
    found = predict_ahead(model, np.array(read, np.uint8), 3)
    for k in (1, 2, 3):
        assert found[k - 1] == pytest.approx(by_paths(model, read, k), abs=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_far_ahead_it_is_the_stationary_distribution(order):
    """The left eigenvector of the transitions between contexts at the eigenvalue 1, whatever was read."""
    model = chain(order, "witten-bell")
    contexts = list(product(range(V), repeat=order))
    moves = np.zeros((len(contexts), len(contexts)))
    for i, context in enumerate(contexts):
        for token, p in enumerate(one_step(model, context)):
            moves[i, contexts.index((*context[1:], token))] += p
    values, vectors = np.linalg.eig(moves.T)
    stationary = np.real(vectors[:, np.argmin(abs(values - 1))])
    stationary /= stationary.sum()
    newest = [stationary[[c[-1] == token for c in contexts]].sum() for token in range(V)]
    for read in ([1], [4, 3, 2, 1]):
        assert predict_ahead(model, np.array(read, np.uint8), 300)[-1] == pytest.approx(newest, abs=1e-10)


@given(st.integers(0, 3), st.lists(st.integers(0, V - 1), max_size=5), st.sampled_from(sorted(SMOOTHINGS)))
def test_every_step_is_a_distribution(order, read, smoothing):
    found = predict_ahead(chain(order, smoothing), np.array(read, np.uint8), 7)
    assert found.dtype == np.float64
    assert found.shape == (7, V)
    assert found.min() >= 0
    assert found.sum(1) == pytest.approx(np.ones(7), abs=1e-12)


def test_maximum_likelihood_can_be_certain():
    """The chain a b c a b c ... goes round for ever."""
    ring = NGram.fit(task(), np.tile([1, 2, 3], 20).astype(np.uint8), order=3, smoothing="laplace", eps=0.0)
    found = predict_ahead(ring, np.array([1, 2], np.uint8), 30)
    assert found.argmax(1).tolist() == [3, 1, 2] * 10
    assert found.max(1).tolist() == [1.0] * 30


def test_what_cannot_be_is_refused(monkeypatch):
    model = chain(2)
    with pytest.raises(ConfigError, match="steps is 0: it must be at least 1"):
        predict_ahead(model, TEXT[:2], 0)
    with pytest.raises(DataError, match="no token 7: the vocabulary has ids 0 to 6"):
        predict_ahead(model, np.array([1, 7], np.uint8), 2)
    monkeypatch.setattr(elman.models.ngram.markov, "memory", lambda: 5_000)
    with pytest.raises(ConfigError, match=r"9 steps of a chain of order 2 over 7 symbols may take .* lower the order"):
        predict_ahead(model, TEXT[:2], 9)
    assert predict_ahead(model, TEXT[:2], 1).shape == (1, V), "a step alone needs no table of contexts"
