"""Compiled experts against their definition: contexts, sums and gradients, whole models, sampling."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import elman
from elman.data.batches import Rows, gather
from elman.engines.native_experts import is_compiled
from elman.engines.sampling import Sampling
from elman.models.hybrid import Hybrid
from elman.models.ngram.expert_sets import DenseExperts, NativeExperts, time_major
from elman.models.ngram.experts import MEMORY, ContextFeatures

pytestmark = pytest.mark.skipif(not is_compiled(), reason="installed without a compiler")

ALPHABET = "ab'é\u0301 \n.2"
TEXTS = st.text(ALPHABET, min_size=1, max_size=60)


def pair(vocab, order, ids, folds=0):
    """The same experts by the definition and compiled."""
    sets = DenseExperts(vocab, order, ids), NativeExperts(vocab, order, ids)
    for each in sets if folds else ():
        each.fold(folds)
    return sets


def stream(rng, vocab, order, text, rows, steps):
    """Inputs that stand in the text in part, the tokens before them, and a state of words and lines."""
    inputs = rng.integers(0, len(vocab), (rows, steps))
    for row in range(0, rows, 2):
        at = int(rng.integers(0, max(1, len(text) - steps)))
        inputs[row, : len(text[at : at + steps])] = text[at : at + steps]
    read = rng.integers(-1, len(vocab), (rows, order - 1))
    _, memory = ContextFeatures(vocab).extract(read, ContextFeatures.initial(rows))
    return inputs, read, memory


def assert_alike(dense, native, inputs, read, memory, chosen=None):
    """Backoff weights, the state, the softmax of the sum, and the gradients of its logits and weights."""
    rng = torch.Generator().manual_seed(1)
    expected, after = dense.find(inputs, read, memory, chosen)
    found, state = native.find(inputs, read, memory, chosen)
    assert np.array_equal(state, after)
    assert torch.equal(found[-1], expected[-1])
    shape, size = expected[-1].shape, len(native.vocab)
    weights, logits = torch.randn(shape, generator=rng), torch.randn(*shape[:2], size, generator=rng)
    d = torch.randn(*shape[:2], size, generator=rng)
    gradients = []
    for each, evidence, dtype in ((dense, expected, torch.float64), (native, found, torch.float32)):
        a, own = (t.to(dtype).requires_grad_() for t in (weights, logits))
        log_p = torch.log_softmax(each.add(own, a, evidence), -1)
        (log_p * d.to(dtype)).sum().backward()
        gradients.append((log_p.detach().double(), a.grad.double(), own.grad.double()))
    scale = 1 + expected[0].abs().max().item() * shape[-1]
    for one, other in zip(*gradients, strict=True):
        assert other == pytest.approx(one, abs=2e-6 * scale * (1 + one.abs().max().item()))


@given(TEXTS, st.integers(2, 9), st.integers(1, 3), st.integers(1, 8), st.integers(0, 2**32), st.integers(0, 3))
@settings(max_examples=120)
def test_sums_and_gradients_are_those_of_the_definition(text, order, rows, steps, seed, folds):
    vocab, rng = elman.Vocab.chars(ALPHABET), np.random.default_rng(seed)
    ids = vocab.encode(text)
    folds = folds if len(ids) > 8 and folds > 1 else 0
    dense, native = pair(vocab, order, ids, folds)
    inputs, read, memory = stream(rng, vocab, order, ids, rows, steps)
    chosen = rng.integers(0, folds + 1, inputs.shape) if folds else None
    assert_alike(dense, native, inputs, read, memory, chosen)


@pytest.mark.parametrize("size", [1, 2, 257, 4097, 50_000])
def test_vocabularies_of_any_size(size):
    vocab = elman.Vocab.chars(
        "".join(chr(0x4E00 + i) if i < 20_000 else chr(0x20000 + i) for i in range(size)), unknown=False
    )
    rng = np.random.default_rng(size)
    ids = (size * rng.random(500) ** 3).astype(vocab.dtype)
    dense, native = pair(vocab, 3, ids)
    assert_alike(dense, native, *stream(rng, vocab, 3, ids, 2, 3))


def test_nothing_that_was_counted_is_uniform():
    vocab = elman.Vocab.chars("abc")
    dense, native = pair(vocab, 4, np.zeros(0, np.uint8))
    assert_alike(dense, native, *stream(np.random.default_rng(0), vocab, 4, [1], 2, 5))


def test_every_context_of_words_is_found_again():
    """Thousands of hashes in one table, of which many meet."""
    vocab = elman.Vocab.chars("abcdefgh ")
    ids = np.random.default_rng(0).integers(1, 10, 30_000).astype(np.uint8)
    native = NativeExperts(vocab, 3, ids)
    features = ContextFeatures(vocab)
    inputs = ids[None, :-1].astype(np.int64)
    keys, _ = features.extract(inputs, features.initial(1))
    (contexts, _, _), _ = native.find(inputs, np.full((1, 2), -1), features.initial(1), None)
    for k in range(4):
        hashes = native.tables[0].levels[2 + k].hashes
        found = contexts[0, :, 2 + k].numpy()
        assert (found >= 0).mean() > 0.9
        assert np.array_equal(hashes[found[found >= 0]], keys[0, found >= 0, k])


def test_a_stream_in_pieces_is_the_stream():
    vocab = elman.Vocab.chars(ALPHABET)
    rng = np.random.default_rng(3)
    ids = rng.integers(1, len(vocab), 400).astype(np.uint8)
    _, native = pair(vocab, 5, ids, 3)
    inputs, read, memory = stream(rng, vocab, 5, ids, 4, 30)
    chosen = rng.integers(0, 4, inputs.shape)
    whole, _ = native.find(inputs, read, memory, chosen)
    found, before = [], read
    for at in range(0, 30, 7):
        piece = slice(at, at + 7)
        evidence, memory = native.find(inputs[:, piece], before, memory, chosen[:, piece])
        before = np.concatenate((before, inputs[:, piece]), 1)[:, -4:]
        found.append(evidence)
    for each, pieces in zip(whole, zip(*found, strict=True), strict=True):
        assert torch.equal(torch.cat(pieces, 1), each)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_no_bit(threads):
    vocab = elman.Vocab.chars(ALPHABET)
    ids = np.random.default_rng(4).integers(1, len(vocab), 400).astype(np.uint8)
    native = NativeExperts(vocab, 5, ids)
    inputs, read, memory = stream(np.random.default_rng(5), vocab, 5, ids, 4, 9)
    results = []
    for count in (1, threads):
        torch.set_num_threads(count)
        evidence, _ = native.find(inputs, read, memory, None)
        a = torch.linspace(-1, 1, evidence[-1].numel()).view_as(evidence[-1]).requires_grad_()
        logits = native.add(torch.zeros(4, 9, len(vocab)), a, evidence)
        torch.log_softmax(logits, -1).square().sum().backward()
        results.append((logits.detach(), a.grad))
    assert all(map(torch.equal, *results))


# --- whole models


def trained(*, unknown=True, **settings):
    text = "the cat sat on the mat, and it didn't sit on the hat.\n" * 8
    task = elman.TextTask(elman.Vocab.chars(text, unknown=unknown))
    model = Hybrid(elman.Recurrent(task, hidden=12, **settings), ngram_experts=5)
    elman.fit(model, task.vocab.encode(text), steps=20, batch=4, window=12, lr=0.02, optimizer="adamw")
    return model, task.vocab.encode(text)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_a_step_has_the_loss_and_the_gradients_of_the_definition(cell):
    model, ids = trained(cell=cell)
    rows = Rows(np.array([0, 40, 200]), np.array([16, 60, 209]), fresh=True)
    inputs, targets = map(torch.from_numpy, gather(ids, rows))
    found = []
    for dtype in (torch.float32, torch.float64):
        model.to(dtype)
        model.start_training(ids)
        model.zero_grad()
        nats, state = model.loss(inputs, targets, model.initial(3), None, rows)
        nats.backward()
        gradients = {name: p.grad.double() for name, p in model.named_parameters() if p.grad is not None}
        found.append((float(nats.detach()), gradients, [s.detach().double() for s in state]))
    (cost, gradients, state), (expected, exact, after) = found
    assert cost == pytest.approx(expected, rel=1e-6)
    for name, gradient in exact.items():
        assert gradients[name].numpy() == pytest.approx(gradient.numpy(), abs=2e-5 * (1 + gradient.abs().max().item()))
    for one, other in zip(state, after, strict=True):
        assert one.numpy() == pytest.approx(other.numpy(), abs=1e-5)


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize(
    "settings", [{"cell": "gru"}, {"cell": "lstm", "layers": 2}, {"cell": "elman", "embedding": 6}]
)
@pytest.mark.parametrize("chosen", [{}, {"temperature": 0.7}, {"top_k": 3, "top_p": 0.9}])
def test_the_compiled_sampler_is_the_steps(streams, settings, chosen):
    model, ids = trained(**settings)
    sampling = Sampling(**{"temperature": 1.0} | chosen)
    inputs = torch.from_numpy(np.stack([ids[i : i + 9] for i in range(streams)]).astype(np.int64))
    with torch.inference_mode():
        _, state = model(inputs, model.initial(streams))
    sampler = model.token_sampler(sampling, streams)
    first, drawn = np.full(streams, ids[12], np.int64), np.random.default_rng(0).random((40, streams))
    one, other, tokens, ours = state, state, first, []
    step, compared = model.stepper(), first
    for at in (0, 1, 8, 25):  # calls of several lengths
        steps = {0: 1, 1: 7, 8: 17, 25: 15}[at]
        sampled, one = sampler(tokens, one, steps, drawn[at : at + steps])
        tokens = sampled[-1]
        ours.append(sampled)
    theirs = []
    for t in range(40):
        logits, other = step(torch.from_numpy(compared), other)
        numbers = logits.numpy().copy()
        numbers[:, 0] = -np.inf
        compared = sampling(numbers, drawn[t])
        theirs.append(compared)
    assert np.array_equal(np.concatenate(ours), np.stack(theirs))
    for a, b in zip(one, other, strict=True):
        assert a.numpy() == pytest.approx(b.numpy(), abs=1e-4)


def test_what_lies_time_major_is_not_copied():
    tensor = torch.zeros(5, 3, 2).transpose(0, 1)
    assert time_major(tensor).data_ptr() == tensor.data_ptr()
    assert MEMORY == 5
