"""Learning from an n-gram: against n-grams of what is left of the text, a scalar loop, and what is learnt."""

import math

import numpy as np
import pytest
import torch
from helpers import V, hybrid, shaken, task, tiny, tokens

import elman
import elman.reproduce
from elman.data.batches import BATCHINGS, START, Rows, gather
from elman.errors import ConfigError
from elman.models.ngram.model import NGram, best_order
from elman.training import distillation as teaching
from elman.training.distillation import DistillationTargets
from elman.training.loop import TrainState, train

STRETCHES = 8


def rows(*spans):
    return Rows(np.array([a for a, _ in spans]), np.array([b for _, b in spans]), fresh=True)


def rest_of(ids, place):
    """The text without the stretch that a place is in."""
    n = len(ids)
    edges = [n * f // STRETCHES for f in range(STRETCHES + 1)]
    (own,) = [f for f in range(STRETCHES) if edges[f] <= place < edges[f + 1]]
    return np.concatenate((ids[: edges[own]], ids[edges[own + 1] :]))


def definition(ids, order, place):
    """Q of one target: of the n-gram of the rest of the text, which reads the whole text up to there."""
    ngram = NGram.fit(task(), rest_of(ids, place), order=order)
    read = [START, *ids[:place].tolist()]
    logits, _ = ngram(torch.tensor([read]), ngram.initial(1))
    return logits[0, -1].exp().numpy()


def structured(n, seed=0):
    """A text of which five tokens before say more than one."""
    rng, ids = np.random.default_rng(seed), [1, 2, 3, 4, 5]
    while len(ids) < n:
        ids.append(int(rng.integers(1, V)) if rng.random() < 0.2 else 1 + (ids[-1] + ids[-3]) % (V - 1))
    return np.array(ids, np.uint8)


@pytest.mark.parametrize("n", [24, 97, 150])
def test_it_expects_what_an_n_gram_of_the_rest_of_the_text_does(n):
    ids = structured(n)
    teacher = DistillationTargets(task(), ids, 0.5)
    assert teacher.order == best_order(task(), ids)
    spans = [(0, 7), (n // 8 - 3, n // 8 + 4), (n // 2, n // 2 + 1), (n - 7, n), (n - 2, n)]
    expected = teacher.soft_targets(rows(*spans), 7)
    assert (expected.shape, expected.dtype) == ((5, 7, V), torch.float32)
    for row, (start, stop) in enumerate(spans):
        for t in range(7):
            here = definition(ids, teacher.order, start + t) if start + t < stop else np.zeros(V)
            assert expected[row, t].numpy() == pytest.approx(here, rel=1e-6)


@pytest.mark.parametrize("order", [1, 2, 6])
def test_the_beginning_of_the_text_is_a_context_too(order, monkeypatch):
    monkeypatch.setattr(teaching, "best_order", lambda *_: order)
    ids = structured(64)
    expected = DistillationTargets(task(), ids, 0.5).soft_targets(rows((0, 10)), 10)
    for t in range(10):
        assert expected[0, t].numpy() == pytest.approx(definition(ids, order, t), rel=1e-6)


def test_nothing_of_a_stretch_is_known_there(monkeypatch):
    monkeypatch.setattr(teaching, "best_order", lambda *_: 3)
    ids = tokens(160, seed=1)
    other = ids.copy()
    other[23:40] = tokens(17, seed=2)  # of the stretch from 20 to 40, all but what is read before 23 to 25
    a, b = (DistillationTargets(task(), each, 0.5).soft_targets(rows((20, 24), (60, 64)), 4) for each in (ids, other))
    assert torch.equal(a[0], b[0])
    assert (a[1] != b[1]).any()


@pytest.mark.parametrize("batching", BATCHINGS)
def test_every_batch_is_taught_what_stands_at_its_places(batching):
    ids = structured(200)
    teacher = DistillationTargets(task(), ids, 0.5)
    each = {}
    for row in BATCHINGS[batching].rows(len(ids), 3, 9, np.random.default_rng(0)):
        inputs, targets = gather(ids, row)
        expected = teacher.soft_targets(row, inputs.shape[1])
        assert torch.equal(expected.sum(-1) > 0.5, torch.from_numpy(targets >= 0))
        for start, stop, said in zip(row.starts, row.stops, expected, strict=True):
            for t in range(stop - start):
                assert ids[start + t] == targets[list(row.starts).index(start), t]
                each[int(start) + t] = said[t]
    assert len(each) > 150
    for place in sorted(each)[::17]:
        assert each[place].numpy() == pytest.approx(definition(ids, teacher.order, place), rel=1e-6)


@pytest.mark.parametrize("share", [0.25, 0.9])
def test_the_cost_is_the_definition(share):
    ids = structured(80)
    model, teacher = tiny(cell="gru").double(), DistillationTargets(task(), ids, share)
    row = rows((3, 9), (70, 73))
    inputs, targets = (torch.from_numpy(a) for a in gather(ids, row))
    with torch.no_grad():
        cost, nats, state = teacher.loss(model, inputs, targets, model.initial(2), None, row)
        logits, after = model(inputs, model.initial(2))
    expected = plain = 0.0
    for b, (start, stop) in enumerate(((3, 9), (70, 73))):
        for t in range(stop - start):
            total = math.log(sum(math.exp(x) for x in logits[b, t].tolist()))
            log_p = [x - total for x in logits[b, t].tolist()]
            q = definition(ids, teacher.order, start + t)
            own = -log_p[ids[start + t]]
            plain += own
            expected += (1 - share) * own - share * sum(float(q[w]) * log_p[w] for w in range(V))
    assert float(nats) == pytest.approx(plain, rel=1e-12)
    assert float(cost) == pytest.approx(expected, rel=1e-7)
    torch.testing.assert_close(state, after)


def test_hardly_any_share_is_no_teacher():
    ids = structured(80)
    model = tiny(cell="lstm").double()
    row = rows((0, 6), (40, 44))
    inputs, targets = (torch.from_numpy(a) for a in gather(ids, row))
    state = model.initial(2)
    cost, nats, _ = DistillationTargets(task(), ids, 1e-12).loss(model, inputs, targets, state, None, row)
    expected, _ = model.loss(inputs, targets, state, None, row)
    torch.testing.assert_close(cost, expected)
    torch.testing.assert_close(nats, expected)


def test_a_network_that_counts_forgets_the_stretch_while_it_is_taught():
    """Or else it would learn to trust experts that know the text by heart."""
    ids = structured(300)
    model = hybrid(task(), hidden=4, ngram_experts=4)
    model.prepare(ids)
    row = rows((30, 60), (100, 130))
    inputs, targets = (torch.from_numpy(a) for a in gather(ids, row))
    state = shaken(model).initial(2)
    _, nats, _ = DistillationTargets(task(), ids, 0.5).loss(model, inputs, targets, state, None, row)
    forgetful, _ = model.loss(inputs, targets, state, None, row)
    by_heart, _ = model.loss(inputs, targets, state)
    torch.testing.assert_close(nats, forgetful)
    assert (nats - by_heart).abs() > 1


def test_dropout_is_that_of_the_network():
    ids = structured(80)
    model, teacher = tiny(cell="gru", layers=2, dropout=0.5), DistillationTargets(task(), ids, 0.5)
    row = rows((0, 6))
    inputs, targets = (torch.from_numpy(a) for a in gather(ids, row))

    def cost(noise):
        return teacher.loss(model, inputs, targets, model.initial(1), noise, row)[1].item()

    assert cost(torch.Generator().manual_seed(1)) == cost(torch.Generator().manual_seed(1)) != cost(None)


def held_out_nats(teacher, seed):
    text = structured(700, seed=1)
    model = elman.Recurrent(task(), cell="gru", hidden=24, seed=seed)
    elman.fit(model, text[:400], steps=200, batch=4, window=25, lr=0.02, distill_weight=teacher, seed=seed)
    return elman.evaluate(model, text[400:]).nats / 300


def test_a_taught_network_predicts_a_new_text_better():
    """On so short a text one that learns alone learns it by heart."""
    for seed in (0, 1):
        assert held_out_nats(0.5, seed) < held_out_nats(0.0, seed) - 0.2


def test_training_reports_the_cost_of_the_text_alone():
    ids = structured(120)
    model = tiny(cell="elman")
    row = next(BATCHINGS["sequential"].rows(len(ids), 2, 10, elman.rng.numpy_generator(3, "order of an epoch", 0)))
    inputs, targets = (torch.from_numpy(a) for a in gather(ids, row))
    expected = float(model.loss(inputs, targets, model.initial(2))[0].detach())
    training = TrainState.begin(model, elman.TrainSettings(steps=1, batch=2, window=10, distill_weight=0.7, seed=3))
    (progress,) = train(model, ids, training=training)
    assert progress.nats == pytest.approx(expected, rel=1e-6)


def test_what_cannot_be_taught_is_refused(monkeypatch):
    large = elman.TextTask(elman.Vocab.chars("".join(chr(0x4E00 + i) for i in range(4096))))
    with pytest.raises(
        ConfigError,
        match=r"at most 4,096 tokens, and this one has 4,097: leave distill_weight out, or use --tokens byte",
    ):
        DistillationTargets(large, np.zeros(2000, np.uint16), 0.5)
    for n in (1, 7):
        with pytest.raises(
            ConfigError, match=rf"at least 8 training tokens, and there are {n}: .*leave distill_weight out"
        ):
            DistillationTargets(task(), tokens(n), 0.5)
    assert DistillationTargets(task(), tokens(8), 0.5).soft_targets(rows((0, 8)), 8).sum() == pytest.approx(8)
    monkeypatch.setattr(teaching, "memory", lambda: 10_000)
    with pytest.raises(
        ConfigError,
        match=r"counting the n-grams of 500 tokens for distill_weight.*--limit the text, or leave distill_weight out",
    ):
        DistillationTargets(task(), tokens(500), 0.5)
