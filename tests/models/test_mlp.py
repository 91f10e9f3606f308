"""The windowed network equals its equations written out with one-hot vectors."""

import numpy as np
import pytest
import torch
from helpers import V, shaken, task, tokens

import elman
from elman.errors import ConfigError


def by_hand(model, read, t):
    """Logits after read[t], by vectors; before the text stands the symbol V."""
    window = [read[t - j] if t >= j else V for j in range(model.config.context)]
    E = np.eye(V + 1) if model.embed is None else model.embed.detach().numpy()
    x = [E[token] for token in window]
    W = model.W.detach().numpy()
    asked = sum(x) @ W[0] if model.config.bag else sum(x[j] @ W[j] for j in range(model.config.context))
    h = np.maximum(asked + model.b.detach().numpy(), 0)
    return model.W_q.detach().numpy() @ h + model.b_q.detach().numpy()


@pytest.mark.parametrize("bag", [False, True])
@pytest.mark.parametrize("embedding", [0, 3])
@pytest.mark.parametrize("context", [1, 2, 5])
def test_logits_equal_the_equations(context, embedding, bag):
    model = shaken(elman.MLP(task(), hidden=6, context=context, embedding=embedding, bag=bag)).double()
    read = [0, *tokens(9).tolist()]
    logits, _ = model(torch.tensor([read]), model.initial(1))
    for t in range(len(read)):
        assert logits[0, t].detach().numpy() == pytest.approx(by_hand(model, read, t), rel=1e-9)


def test_a_bag_does_not_know_the_order():
    a, b = torch.tensor([[1, 2, 3]]), torch.tensor([[3, 1, 2]])
    for bag in (True, False):
        model = shaken(elman.MLP(task(), hidden=6, context=3, bag=bag))
        same = torch.allclose(*(model(x, model.initial(1))[0][:, -1] for x in (a, b)))
        assert same == bag


def test_it_learns_what_it_can_see_and_nothing_beyond():
    """a?b -> each letter tells the one two later: two tokens of context know all, one knows nothing of it."""
    rng, text = np.random.default_rng(0), [1, 2]
    for _ in range(3000):
        text.append(text[-2] % 6 + 1 if rng.random() < 0.98 else int(rng.integers(1, 7)))
    ids = np.array(text, np.uint8)
    near = {}
    for context in (1, 2):
        model = elman.MLP(task(), hidden=32, context=context)
        elman.fit(model, ids[:2500], ids[2500:], epochs=10, batch=8, window=16)
        near[context] = elman.evaluate(model, ids[2500:]).perplexity
    assert near[2] < 1.6
    assert near[1] > 2.0


def test_the_initial_hidden_units_are_of_the_same_size_whatever_the_context():
    for context in (1, 16):
        for embedding in (0, 8):
            model = elman.MLP(task(), hidden=2000, context=context, embedding=embedding)
            with torch.no_grad():
                h = model._preactivation(
                    torch.randint(1, V, (50, 1, context), generator=torch.Generator().manual_seed(0))
                )
            assert 0.7 < h.std() < 2.2


def test_parameters_and_operations():
    wide = elman.MLP(task(), hidden=10, context=3)
    assert (wide.parameter_count(), wide.operations()) == (3 * 8 * 10 + 10 + 7 * 10 + 7, 7 * 10)
    deep = elman.MLP(task(), hidden=10, context=3, embedding=4)
    assert (deep.parameter_count(), deep.operations()) == (8 * 4 + 3 * 4 * 10 + 10 + 77, 120 + 70)
    gru = elman.Recurrent(task(), cell="gru", hidden=10, layers=2)
    assert gru.operations() == 30 * 10 + 2 * 30 * 10 + 7 * 10


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"hidden": 0}, "hidden = 0: it must be"),
        ({"context": 0}, "context = 0: it must be"),
        ({"dropout": 1.0}, "dropout"),
        ({"hidden": 2**16, "context": 2**16}, "more than elman trains"),
    ],
)
def test_sizes_that_cannot_be(settings, told):
    with pytest.raises(ConfigError, match=told):
        elman.MLP(task(), **settings)
