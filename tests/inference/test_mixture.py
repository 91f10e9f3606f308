"""Mixtures against arithmetic on the probabilities of their models."""

import numpy as np
import pytest
import torch
from helpers import V, task, tiny

import elman
from elman.errors import ConfigError
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
