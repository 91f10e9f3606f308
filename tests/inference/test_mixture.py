"""Mixtures against arithmetic on the probabilities of their models."""

import math
from decimal import Decimal

import numpy as np
import pytest
import torch
from helpers import V, task, tiny
from hypothesis import given
from hypothesis import strategies as st

import elman
from elman.errors import ConfigError, ModelError
from elman.inference.dynamic import AdaptiveWeights
from elman.inference.mixture import best_weights
from elman.models.saving import save

TEXT = np.random.default_rng(0).choice(V, 3000, p=np.arange(1, V + 1) ** 2 / 140).astype(np.uint8)


def two():
    return [tiny().double(), elman.NGram.fit(task(), TEXT[:2000], order=3)]


def test_probabilities_are_averaged_token_by_token():
    models = two()
    each = np.stack([elman.surprisals(m, TEXT[2000:]) for m in models])
    mixed = elman.Mixture(models, [0.3, 0.7])
    expected = -np.log(0.3 * np.exp(-each[0]) + 0.7 * np.exp(-each[1]))
    np.testing.assert_allclose(elman.surprisals(mixed, TEXT[2000:]), expected, rtol=1e-10)
    assert elman.evaluate(mixed, TEXT[2000:]).nats == pytest.approx(expected.sum())


def test_a_weight_of_one_is_that_model_and_no_weights_are_all_alike():
    models = two()
    alone, none = elman.surprisals(models[1], TEXT[2000:]), elman.Mixture(models)
    np.testing.assert_allclose(elman.surprisals(elman.Mixture(models, [0, 1]), TEXT[2000:]), alone, rtol=1e-10)
    assert none.weights.tolist() == [0.5, 0.5]
    with torch.inference_mode():
        logits, _ = elman.Mixture(models, [0, 1]).stepper()(torch.tensor([1]), elman.Mixture(models).initial(1))
    assert logits.isfinite().all()


@pytest.mark.parametrize("seed", range(4))
def test_learnt_weights_are_the_best_of_a_grid(seed):
    rng = np.random.default_rng(seed)
    each = rng.gamma(1.5, 1.0, size=(2, 400)) + np.array([[0.0], [0.2]])
    grid = np.linspace(0, 1, 2001)
    costs = [-np.log(w * np.exp(-each[0]) + (1 - w) * np.exp(-each[1])).mean() for w in grid]
    found = best_weights(each)
    assert found.sum() == pytest.approx(1)
    assert abs(found[0] - grid[int(np.argmin(costs))]) < 0.01
    assert -np.log(found @ np.exp(-each)).mean() <= min(costs) + 1e-7


def test_learning_weights_stands_a_token_that_all_models_find_impossible():
    each = np.array([[1.0, 800.0, 2.0], [3.0, 801.0, 1.0]])
    assert np.isfinite(best_weights(each)).all()


def test_a_mixture_is_never_worse_on_what_its_weights_were_learnt_from():
    models = two()
    mixed = elman.Mixture.fit(models, TEXT[2000:2500])
    best = min(elman.evaluate(m, TEXT[2000:2500]).nats for m in models)
    assert elman.evaluate(mixed, TEXT[2000:2500]).nats <= best + 1e-6


def test_it_writes_text_and_names_its_models():
    mixed = elman.Mixture(two())
    assert mixed.name == "gru + 3-gram"
    assert mixed.parameter_count() == sum(m.parameter_count() for m in mixed.models)
    written = [list(elman.generate(mixed, "a", 20, seed=1)) for _ in range(2)]
    assert written[0] == written[1]
    assert "".join(written[0])


@pytest.mark.parametrize(
    ("models", "weights", "words"),
    [
        (lambda: [], None, "at least one model"),
        (two, [0.5], "give 2 numbers, each 0 or more, that add up to 1"),
        (two, [0.7, 0.7], "add up to 1"),
        (two, [1.5, -0.5], "0 or more"),
        (two, [float("nan"), 1], "weights is .nan, 1., and must be a list, each of it a finite number"),
        (lambda: [tiny(), elman.NGram.fit(elman.TextTask(elman.Vocab.chars("xyz")), TEXT[:9] % 3, order=2)], None,
         "2-gram has another vocabulary"),
    ],
)  # fmt: skip
def test_what_is_no_mixture_is_refused(models, weights, words):
    with pytest.raises(ConfigError, match=words):
        elman.Mixture(models(), weights)


def test_a_mixture_is_saved_by_its_models(tmp_path):
    with pytest.raises(ConfigError, match="a mixture is not saved as one: save each of its models"):
        save(elman.Mixture(two()), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_token_that_no_model_can_predict_changes_no_weight():
    costs = np.array([[1.0, np.inf, 2.0], [2.0, np.inf, 1.5]])
    found = best_weights(costs)
    np.testing.assert_array_equal(found, best_weights(costs[:, [0, 2]]))
    np.testing.assert_array_equal(best_weights(costs[:, [1]]), [0.5, 0.5])
    weights = AdaptiveWeights(np.array([0.25, 0.75]))
    nats, each = weights.mix(costs.T)
    other = AdaptiveWeights(np.array([0.25, 0.75])).mix(costs[:, [0, 2]].T)
    np.testing.assert_allclose(nats, [other[0][0], np.inf, other[0][1]])
    np.testing.assert_allclose(each[[0, 2]], other[1])


def nats_of(weights, costs):
    """-log sum_i w_i exp(-cost_i), in integers of any size: no float can underflow."""
    total = sum(Decimal(float(w)) * (-Decimal(float(c))).exp() for w, c in zip(weights, costs, strict=True))
    return float(-total.ln()) if total else math.inf


COST = st.one_of(st.floats(0, 5), st.sampled_from([0.0, 750.0, 3000.0, math.inf]))
COSTS = st.lists(st.tuples(COST, COST, COST), min_size=1, max_size=8)


@given(COSTS, st.sampled_from([(1, 0, 0), (0, 0.5, 0.5), (0.2, 0.3, 0.5), (1e-300, 1 - 1e-300, 0)]))
def test_no_cost_makes_weights_that_are_no_weights(costs, begin):
    """Impossible tokens, and costs so far apart that a probability underflows beside another."""
    each = np.array(costs).T
    found = best_weights(each)
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1)
    adaptive = AdaptiveWeights(np.array(begin))
    nats, weights = adaptive.mix(each.T)
    assert (weights >= 0).all()
    assert weights.sum(1) == pytest.approx(1)
    for t, row in enumerate(costs):
        assert nats[t] == pytest.approx(nats_of(weights[t], row), rel=1e-9, abs=1e-9)


def test_weights_are_the_best_where_some_tokens_are_impossible_for_one_model():
    """Of 3 tokens that only the first can predict and 1 that only the second can: 3/4 and 1/4."""
    each = np.array([[1.0, 2.0, 3.0, np.inf], [np.inf, np.inf, np.inf, 1.0]])
    assert best_weights(each) == pytest.approx([0.75, 0.25])


def test_a_model_that_predicts_nan_is_refused():
    for fit in (best_weights, lambda each: AdaptiveWeights(np.array([0.5, 0.5])).mix(each.T)):
        with pytest.raises(ModelError, match="a model of the mixture predicts NaN"):
            fit(np.array([[1.0, np.nan], [1.0, 2.0]]))


def test_counts_that_find_a_token_impossible_are_mixed():
    """Without smoothing an n-gram expects what it has seen and nothing else."""
    seen, other = np.tile([1, 2, 3], 20).astype(np.uint8), np.tile([3, 2, 1], 20).astype(np.uint8)
    models = [elman.NGram.fit(task(), ids, order=2, smoothing="laplace", eps=0.0) for ids in (seen, other)]
    mixed = elman.Mixture.fit(models, np.array([1, 2, 3, 1, 2, 4, 5, 3, 2], np.uint8))
    assert mixed.weights.sum() == pytest.approx(1)
    assert not np.isnan(elman.surprisals(mixed, np.array([1, 2, 5, 4], np.uint8))).any()


def test_a_model_of_weight_0_changes_nothing_whatever_it_predicts():
    models = two()
    alone = elman.surprisals(models[1], TEXT[:50])
    with torch.no_grad():
        models[0].b_q.fill_(torch.nan)
    mixed = elman.Mixture(models, [0, 1])
    np.testing.assert_allclose(elman.surprisals(mixed, TEXT[:50]), alone, rtol=1e-10)
    logits, _ = mixed.stepper()(torch.tensor([1]), mixed.initial(1))
    assert logits.isfinite().all()


class OnAnotherDevice(elman.SequenceModel):
    """A model whose state and inputs are on the meta device, as those of a network may be on a GPU."""

    name, is_trained = "elsewhere", True

    def __init__(self):
        self.task = task()

    def initial(self, batch):
        return (torch.empty(batch, 2, device="meta"),)

    def __call__(self, inputs, state, rng=None):
        assert inputs.device.type == state[0].device.type == "meta"
        return torch.zeros(*inputs.shape, V), state

    settings = tensors = parameter_count = operations = dict


@pytest.mark.parametrize("first", [True, False])
def test_each_model_reads_on_its_own_device(first):
    elsewhere, here = OnAnotherDevice(), two()[1]
    mixed = elman.Mixture([elsewhere, here] if first else [here, elsewhere])
    expected = -np.log(0.5 / V + 0.5 * np.exp(-elman.surprisals(here, TEXT[:60])))
    for streams in (1, 3):
        found = elman.surprisals(mixed, TEXT[:60], streams=streams)
        assert found[:10] == pytest.approx(expected[:10])
    logits, state = mixed.stepper()(torch.tensor([1, 2]), mixed.initial(2))
    assert (logits.device.type, sorted(s.device.type for s in state)) == ("cpu", ["cpu", "cpu", "meta"])
