"""What every model promises. A model added to MODELS is held to all of it."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from helpers import V, copying, hybrid, shaken, supported, task, tiny
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import elman
from elman.cells import CELLS, State
from elman.models.base import SequenceModel
from elman.models.ngram.smoothing import SMOOTHINGS

B, T = 3, 9


def tiny_mlp(**settings: Any) -> elman.MLP:
    return shaken(elman.MLP(task(), hidden=5, **settings))


def tiny_ngram(smoothing: str) -> elman.NGram:
    """Of a text in which most threes in a row occur, not alike."""
    ids = np.random.default_rng(0).choice(V, 4000, p=np.arange(1, V + 1) ** 2 / 140).astype(np.uint8)
    return elman.NGram.fit(task(), ids, order=3, smoothing=smoothing)


def tiny_hybrid(**settings: Any) -> elman.Hybrid:
    """Of experts that know a text."""
    model = hybrid(task(), hidden=5, ngram_experts=3, **settings)
    model.prepare(np.random.default_rng(0).choice(V, 2000, p=np.arange(1, V + 1) ** 2 / 140).astype(np.uint8))
    return shaken(model)


def tiny_copying(**settings: Any) -> elman.CopyHead:
    """It looks less far back than a test reads."""
    return shaken(copying(task(), **{"hidden": 5, "copy_window": 4, **settings}))


def tiny_copying_hybrid() -> elman.CopyHead:
    """Counted experts and a copy head together."""
    return shaken(elman.CopyHead(tiny_hybrid(cell="lstm", layers=2), copy_window=4))


def tiny_mixture(**settings: Any) -> elman.Mixture:
    """Of a network with state, one without, and counts."""
    return elman.Mixture(
        [tiny(**settings).double(), tiny_mlp(context=3).double(), tiny_ngram("kneser-ney")], [0.5, 0.3, 0.2]
    )


MODELS: dict[str, Callable[[], SequenceModel]] = {
    **{f"{c}-{e}": partial(tiny, cell=c, engine=e) for c in sorted(CELLS) for e in supported(c)},
    **{f"{c}-2-layers": partial(tiny, cell=c, layers=2) for c in sorted(CELLS)},
    "widths-6-4": partial(tiny, cell="lstm", hidden=[6, 4]),
    "one-unit": partial(tiny, cell="gru", hidden=1),
    "embedding": partial(tiny, cell="gru", embedding=3),
    "embedding-lstm-2-aten": partial(tiny, cell="lstm", embedding=3, layers=2, engine="aten"),
    "tied": partial(tiny, cell="gru", embedding=5, tied=True),
    "learned-initial": partial(tiny, cell="elman", learn_initial_state=True),
    "learned-initial-lstm-2-tied": partial(
        tiny, cell="lstm", layers=2, embedding=5, tied=True, learn_initial_state=True
    ),
    "dropout": partial(tiny, cell="gru", layers=2, dropout=0.5),
    "layer-norm": partial(tiny, cell="elman", layers=2, layer_norm=True),
    "parts": partial(tiny, cell="gru", layers=2, embedding=5, layer_norm=True, residual=True),
    "mogrifier-lstm-2": partial(tiny, cell="lstm", layers=2, embedding=3, mogrifier=5),
    "hybrid": tiny_hybrid,
    "hybrid-lstm-2-embedding": partial(tiny_hybrid, cell="lstm", layers=2, embedding=3),
    **{f"copying-{c}": partial(tiny_copying, cell=c) for c in sorted(CELLS)},
    "copying-one-lstm-2-tied": partial(tiny_copying, copy_window=1, cell="lstm", layers=2, embedding=5, tied=True),
    "copying-far": partial(tiny_copying, copy_window=20, cell="gru", learn_initial_state=True),
    "copying-hybrid": tiny_copying_hybrid,
    "mlp": partial(tiny_mlp, context=3),
    "mlp-of-one": partial(tiny_mlp, context=1),
    "mlp-bag": partial(tiny_mlp, context=3, bag=True),
    "mlp-embedding": partial(tiny_mlp, context=4, embedding=3),
    "mlp-bag-embedding": partial(tiny_mlp, context=2, embedding=3, bag=True),
    "mixture": partial(tiny_mixture, cell="lstm", layers=2),
    **{f"ngram-{s}": partial(tiny_ngram, s) for s in SMOOTHINGS},
}
MEMORY = [name for name in MODELS if name != "mlp-of-one"]


def made(name: str) -> SequenceModel:
    model = MODELS[name]()
    return model.double() if isinstance(model, nn.Module) else model


@pytest.fixture(params=MODELS)
def model(request):
    return made(request.param)


def some_tokens(batch: int = B, steps: int = T, seed: int = 1) -> Tensor:
    return torch.randint(V, (batch, steps), generator=torch.Generator().manual_seed(seed))


def some_state(model: SequenceModel, batch: int = B) -> State:
    """A state that differs from row to row, as after reading."""
    return model(some_tokens(batch, 2, seed=2), model.initial(batch))[1]


def test_probabilities_sum_to_one_and_are_not_all_alike(model):
    logits, _ = model(some_tokens(), model.initial(B))
    p = model.task.log_probabilities(logits).exp()
    assert p.shape == (B, T, V)
    torch.testing.assert_close(p.sum(-1), torch.ones(B, T).double())
    assert p.std(-1).min() > 0.01


def test_carrying_the_state_over_any_cut_equals_reading_it_whole(model):
    tokens, start = some_tokens(), some_state(model)
    whole, last = model(tokens, start)
    for cut in range(1, T):
        first, state = model(tokens[:, :cut], start)
        second, state = model(tokens[:, cut:], state)
        torch.testing.assert_close(torch.cat((first, second), 1), whole)
        torch.testing.assert_close(state, last)


@pytest.mark.parametrize("name", ["gru-bptt", "lstm-aten", "learned-initial-lstm-2-tied"])
def test_any_number_of_cuts_equals_reading_it_whole(name):
    model = MODELS[name]().double()
    tokens = some_tokens()
    whole, last = model(tokens, model.initial(B))

    @given(st.sets(st.integers(1, T - 1)))
    def check(cuts):
        edges = [0, *sorted(cuts), T]
        state, pieces = model.initial(B), []
        for start, stop in pairwise(edges):
            logits, state = model(tokens[:, start:stop], state)
            pieces.append(logits)
        torch.testing.assert_close(torch.cat(pieces, 1), whole)
        torch.testing.assert_close(state, last)

    check()


@pytest.mark.parametrize("name", MEMORY)
def test_the_state_matters(name):
    """Or else the tests of carrying it would show nothing."""
    model = made(name)
    tokens = some_tokens(1)
    a, _ = model(tokens, model.initial(1))
    b, _ = model(tokens, some_state(model, 1))
    assert (a - b)[:, 0].abs().max() > 1e-4


def test_the_future_does_not_leak_and_the_past_is_heard(model):
    tokens = some_tokens()
    before, _ = model(tokens, model.initial(B))
    for t in range(T):
        changed = tokens.clone()
        changed[:, t] = (changed[:, t] + 1) % V
        after, _ = model(changed, model.initial(B))
        torch.testing.assert_close(after[:, :t], before[:, :t], rtol=0, atol=0)
        assert ((after - before)[:, t].abs() > 1e-6).any()  # not all: a rectifier may silence a row


def test_the_rows_of_a_batch_do_not_mix(model):
    tokens, state = some_tokens(), some_state(model)
    together, last = model(tokens, state)
    for i in range(B):
        row = tuple(s[i : i + 1] for s in state)
        alone, ended = model(tokens[i : i + 1], row)
        torch.testing.assert_close(alone, together[i : i + 1])
        torch.testing.assert_close(ended, tuple(s[i : i + 1] for s in last))


@pytest.mark.parametrize("batch", [1, B])  # one row takes another way through the arithmetic
def test_one_token_at_a_time_equals_reading_it_whole(model, batch):
    tokens, state = some_tokens(batch), some_state(model, batch)
    with torch.inference_mode():
        whole, last = model(tokens, state)
        step = model.stepper()
        for t in range(T):
            logits, state = step(tokens[:, t], state)
            torch.testing.assert_close(logits, whole[:, t])
        torch.testing.assert_close(state, last)


@pytest.mark.parametrize("batch", [1, B])
def test_a_step_works_where_gradients_are_on_and_computes_none(model, batch):
    tokens = some_tokens(batch)
    with torch.no_grad():
        expected, state = [], model.initial(batch)
        for t in range(T):
            logits, state = model.stepper()(tokens[:, t], state)
            expected.append(logits)
    step, state = model.stepper(), model.initial(batch)
    for t in range(T):
        logits, state = step(tokens[:, t], state)
        assert torch.equal(logits, expected[t])
        assert not logits.requires_grad
        assert not any(s.requires_grad for s in state)
    with torch.inference_mode():  # what is made there can be read on outside
        _, state = model.stepper()(tokens[:, 0], model.initial(batch))
    logits, _ = step(tokens[:, 1], state)
    assert torch.equal(logits, expected[1])


def test_the_initial_state_is_rows_alike_with_the_batch_first(model):
    for batch in (1, 4):
        state = model.initial(batch)
        assert isinstance(state, tuple)
        assert all(s.shape[0] == batch for s in state)
        assert all(torch.equal(s, s[:1].expand_as(s)) for s in state)
    _, after = model(some_tokens(4), state)
    assert [s.shape for s in after] == [s.shape for s in state]


def test_reading_changes_neither_the_model_nor_what_is_read(model):
    tokens, state = some_tokens(), some_state(model)
    kept = {k: t.clone() for k, t in model.tensors().items()}, tokens.clone(), tuple(s.clone() for s in state)
    logits = model(tokens, state)[0]
    if logits.requires_grad:
        logits.sum().backward()
    with torch.inference_mode():
        model.stepper()(tokens[:, 0], state)
    torch.testing.assert_close((model.tensors(), tokens, state), kept, rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "mixture"])  # which is saved by its models
def test_a_saved_model_is_the_same_model(name, tmp_path):
    model = made(name)
    if isinstance(model, nn.Module):
        model = model.float()
    elman.save(model, tmp_path / "m")
    again = elman.load(tmp_path / "m")
    assert (again.kind, again.name, again.settings()) == (model.kind, model.name, model.settings())
    assert (again.parameter_count(), again.operations()) == (model.parameter_count(), model.operations())
    for mine, other in zip(model(some_tokens(), model.initial(B)), again(some_tokens(), again.initial(B)), strict=True):
        torch.testing.assert_close(mine, other)


def test_without_noise_twice_is_the_same(model):
    tokens = some_tokens()
    first, second = (model(tokens, model.initial(B)) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_noise_is_dropout_and_comes_from_the_generator_alone():
    model, tokens = MODELS["dropout"]().double(), some_tokens()

    def read(seed: int) -> Tensor:
        return model(tokens, model.initial(B), torch.Generator().manual_seed(seed))[0]

    torch.manual_seed(0)
    first = read(5)
    torch.manual_seed(1)
    assert torch.equal(first, read(5))
    assert not torch.allclose(first, read(6))
    assert not torch.allclose(first, model(tokens, model.initial(B))[0])


def test_noise_without_dropout_does_nothing():
    model, tokens = MODELS["gru-bptt"]().double(), some_tokens()
    noisy = model(tokens, model.initial(B), torch.Generator().manual_seed(0))[0]
    assert torch.equal(noisy, model(tokens, model.initial(B))[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_step_of_one_row_works_in_every_precision(dtype):
    model = tiny(cell="gru", embedding=3, layers=2).to(dtype)
    tokens = some_tokens()
    (one, _), (several, _) = (model.stepper()(tokens[:n, 0], model.initial(n)) for n in (1, B))
    torch.testing.assert_close(one, several[:1])
    assert one.dtype == dtype
