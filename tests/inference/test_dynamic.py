"""Dynamic evaluation: each token is scored before it is learnt from, and the arithmetic of what is learnt."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import hybrid, task, tiny, tokens
from hypothesis import given
from hypothesis import strategies as st

import elman
from elman.errors import ConfigError, DataError
from elman.inference.dynamic import CHUNK, DECAY, EPS, LIMIT, TRUST, AdaptiveWeights, dynamic, dynamic_chunks
from elman.models.hybrid import RECOUNT

TEXT = tokens(3 * CHUNK + 5)


def tiny_hybrid(text=None) -> elman.Hybrid:
    model = hybrid(task(), hidden=4, ngram_experts=3)
    model.prepare(tokens(300, seed=5) if text is None else text)
    return model.double()


def test_without_steps_it_is_the_model_at_rest():
    model = tiny(cell="lstm", layers=2).double()
    np.testing.assert_allclose(dynamic(model, TEXT, lr=0), elman.surprisals(model, TEXT), rtol=1e-12)


def test_what_is_read_before_is_neither_scored_nor_learnt_from():
    model, before = tiny().double(), tokens(9, seed=8)
    whole = elman.surprisals(model, np.concatenate((before, TEXT)))[9:]
    np.testing.assert_allclose(dynamic(model, TEXT, before=before, lr=0), whole, rtol=1e-12)
    one = elman.surprisals(model, np.concatenate((before[:1], TEXT)))[1:]
    assert len(one) == len(dynamic(model, TEXT, before=before[:1], lr=0))
    np.testing.assert_allclose(dynamic(model, TEXT, before=before, lr=0.1)[:CHUNK], whole[:CHUNK], rtol=1e-12)


def test_steps_are_those_of_rmsprop_written_out():
    model, lr = tiny(cell="elman").double(), 0.01
    other, running, state = copy.deepcopy(model), {}, None
    expected = []
    for number, at in enumerate(range(0, len(TEXT), CHUNK), 1):
        inputs = np.concatenate(([0], TEXT))[at : at + CHUNK][: len(TEXT) - at].astype(np.int64)
        targets = torch.from_numpy(TEXT[at : at + CHUNK].astype(np.int64))
        logits, ended = other(torch.from_numpy(inputs)[None], state or other.initial(1))
        each = -torch.log_softmax(logits[0], -1)[torch.arange(len(targets)), targets]
        expected += each.tolist()
        other.zero_grad()
        each.mean().backward()
        moved = {n: p for n, p in other.named_parameters() if p.requires_grad}
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in moved.values()))
        with torch.no_grad():
            for name, p in moved.items():
                g = p.grad * min(1.0, LIMIT / norm)
                running[name] = DECAY * running.get(name, 0) + (1 - DECAY) * g**2
                p.sub_(lr * g / ((running[name] / (1 - DECAY**number)).sqrt() + EPS))
        state = tuple(s.detach() for s in ended)
    np.testing.assert_allclose(dynamic(model, TEXT, lr=lr), expected, rtol=1e-9)


@pytest.mark.parametrize(
    "make", [lambda: tiny().double(), tiny_hybrid, lambda: elman.Mixture([tiny().double(), tiny_hybrid()])]
)
def test_no_token_is_scored_after_it_was_learnt_from_and_the_model_stays(make):
    model, text = make(), tokens(2 * RECOUNT + 40)
    before = {name: t.clone() for name, t in model.tensors().items()}
    whole = dynamic(model, text)
    assert all(torch.equal(t, before[name]) for name, t in model.tensors().items())
    for cut in (1, CHUNK, RECOUNT + CHUNK + 3, len(text) - 1):
        changed = np.concatenate((text[:cut], tokens(len(text) - cut, seed=9)))
        np.testing.assert_allclose(dynamic(model, changed)[:cut], whole[:cut], rtol=1e-9)


def test_a_network_learns_a_text_that_it_was_not_trained_on():
    text = np.tile(np.array([1, 2, 3, 4, 5], np.uint8), 200)
    model = elman.Recurrent(task(), hidden=16)
    assert dynamic(model, text, lr=0.02).mean() < 0.7 * elman.surprisals(model, text).mean()


def test_experts_count_what_was_read():
    model, text = tiny_hybrid(), tokens(2 * RECOUNT + 40, seed=3)
    found = dynamic(model, text)
    edges = [0, RECOUNT + CHUNK, len(text)]
    read = np.concatenate((tokens(300, seed=5), text[: edges[1]]))
    at_rest, more = elman.surprisals(model, text), tiny_hybrid(read)
    np.testing.assert_allclose(found[: edges[1]], at_rest[: edges[1]], rtol=1e-6)
    np.testing.assert_allclose(
        found[edges[1] : edges[1] + RECOUNT], elman.surprisals(more, text)[edges[1] :][:RECOUNT], rtol=1e-6
    )


@given(st.integers(1, 3), st.integers(0, 30), st.integers(0, 99))
def test_the_weights_of_a_mixture_follow_what_came_before(models, length, seed):
    rng = np.random.default_rng(seed)
    costs, weights = rng.gamma(2.0, 1.0, (models, length)), rng.dirichlet(np.ones(models))
    expected, total = [], [TRUST * w for w in weights]
    for t in range(length):
        p = [total[i] / (TRUST + t) * math.exp(-costs[i, t]) for i in range(models)]
        expected.append(-math.log(sum(p)))
        total = [total[i] + p[i] / sum(p) for i in range(models)]
    np.testing.assert_allclose(AdaptiveWeights(weights).mix(costs.T)[0], expected, rtol=1e-10)


def test_the_score_adds_up_and_says_its_protocol():
    model, each = tiny(), np.zeros(len(TEXT))
    score = elman.evaluate(model, TEXT, protocol="dynamic", per_token=each)
    assert (score.protocol, score.tokens, score.streams, score.window) == ("dynamic", len(TEXT), 1, None)
    assert score.nats == pytest.approx(each.sum())
    assert score.bits_per_character == pytest.approx(each.mean() / math.log(2))


def test_refusals():
    with pytest.raises(DataError, match="no tokens"):
        dynamic(tiny(), TEXT[:0])
    with pytest.raises(ConfigError, match="lr -1"):
        dynamic(tiny(), TEXT, lr=-1)
    with pytest.raises(ConfigError, match="3-gram is an n-gram model, which cannot learn"):
        dynamic(elman.NGram.fit(task(), TEXT, order=3), TEXT)


def test_a_mixture_predicts_what_it_costs_and_the_old_name_still_works():
    """The logits of a mixture are those that its nats follow from."""
    model = elman.Mixture([tiny().double(), tiny_hybrid()], [0.3, 0.7])
    at = 0
    for logits, nats in dynamic_chunks(model, TEXT):
        targets = torch.from_numpy(TEXT[at : at + CHUNK].astype(np.int64))
        log_p = torch.log_softmax(logits[0], -1)[torch.arange(len(targets)), targets]
        np.testing.assert_allclose(nats[0], -log_p, rtol=1e-6)
        at += len(targets)
    assert at == len(TEXT)
    score = elman.evaluate(model, TEXT, protocol="dynamic", before=tokens(9, seed=8))
    with pytest.warns(DeprecationWarning, match='protocol="dynamic"'):
        assert elman.evaluate_dynamic(model, TEXT, before=tokens(9, seed=8)) == score


def test_the_dynamic_protocol_is_refused_for_counts_and_its_context_for_other_protocols():
    with pytest.raises(ConfigError, match="is an n-gram model"):
        elman.evaluate(elman.NGram.fit(task(), TEXT, order=2), TEXT, protocol="dynamic")
    with pytest.raises(ConfigError, match="before is for the protocol 'dynamic'"):
        elman.evaluate(tiny(), TEXT, before=TEXT)
