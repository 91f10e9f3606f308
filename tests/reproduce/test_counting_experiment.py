"""The networks of Howard and Thomas 2019, their training and scoring: against PyTorch's layers and lists of Python."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import V, shaken, task, tiny, tokens
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import elman
from elman.inference.rollout import Rollouts
from elman.reproduce.course import (
    UNUSED,
    BatchNormRecurrent,
    SharedMatrixNetwork,
    fit,
    one_cycle,
    streams,
    task_of,
    validate,
    with_start,
)
from elman.reproduce.experiments.counting import (
    COPYING,
    COUNTERS,
    COURSE,
    EXAMPLE,
    LAST,
    LOOP,
    PUBLISHED,
    RNN,
    SMALL,
    SPREAD,
    TWO,
    UNROLLED,
    thousands,
)

IDS = with_start(tokens(53, seed=3))


# --- the text and its batches


def test_the_vocabulary_has_the_symbols_that_never_occur_and_the_same_ids():
    """39 symbols in its notebook 6 and 40 in 6b; 50,079 and 13,017 tokens with the start token."""
    corpus = elman.read_corpus(["human-numbers"])
    made = task_of(corpus)
    assert made.size == 39
    assert task_of(corpus, tuple(COURSE[SMALL]["unused"])).size == 40
    assert made.vocab.idx_to_token[: len(corpus.vocab)] == corpus.vocab.idx_to_token
    assert set(made.vocab.idx_to_token[len(corpus.vocab) :]) == set(UNUSED)
    assert [len(with_start(part.ids)) for part in corpus.parts] == [50_079, 13_017]


def test_the_validation_of_the_course_has_the_batches_that_its_notebook_prints():
    """Three of 64 x 70, 13,440 tokens; row 1 begins at "eight thousand forty six", the last ends at the beginning."""
    corpus = elman.read_corpus(["human-numbers"])
    batches = list(streams(with_start(corpus.held_out.ids), 64, 70))
    assert [tuple(x.shape) for x, _ in batches] == [(64, 70)] * 3
    first, last = corpus.vocab.decode(batches[0][0][1].tolist()), corpus.vocab.decode(batches[2][0][-1].tolist())
    assert first.startswith(", eight thousand forty six , eight thousand forty seven ,")
    assert last.endswith("nine thousand nine hundred ninety nine <unk> eight thousand one , eight")


@given(st.integers(2, 60), st.integers(1, 7), st.integers(1, 9))
def test_each_stream_reads_the_circle_on(n, batch, window):
    ids = np.arange(n, dtype=np.uint8)
    made = list(streams(ids, batch, window))
    assert len(made) == math.ceil(n / (batch * window))
    for row in range(batch):
        read = [int(t) for inputs, _ in made for t in inputs[row]]
        told = [int(t) for _, targets in made for t in targets[row]]
        start = int(n / batch * row + 1e-9)
        assert read == [(start + i) % n for i in range(len(read))]
        assert told == [(t + 1) % n for t in read]


# --- the networks


@pytest.mark.parametrize("unrolled", [False, True])
def test_three_steps_are_those_of_layers_of_pytorch(unrolled):
    """The normalized state goes on; written out, the first state is the rectified embedding."""
    network = shaken(SharedMatrixNetwork(task(), hidden=5, normalized_state=True, embedded_start=unrolled)).double()
    norm = nn.BatchNorm1d(5).double()
    norm.load_state_dict(network.norm.state_dict())
    x = torch.from_numpy(tokens(12).astype(np.int64)).view(4, 3)
    e = F.embedding(x, network.embed.weight)
    W, b = network.linear.weight, network.linear.bias
    h = norm(F.relu(e[:, 0] if unrolled else e[:, 0] @ W.t() + b))
    for t in (1, 2):
        h = norm(F.relu((h + e[:, t]) @ W.t() + b))
    expected = h @ network.output.weight.t() + network.output.bias
    logits, (state,) = network(x, network.initial(4))
    torch.testing.assert_close(logits[:, -1], expected)
    torch.testing.assert_close(state, h)
    torch.testing.assert_close(network.norm.running_var, norm.running_var)


def test_a_loop_keeps_the_state_and_normalizes_what_is_read_from_it():
    network = shaken(SharedMatrixNetwork(task(), hidden=5)).double()
    norm = nn.BatchNorm1d(5).double()
    norm.load_state_dict(network.norm.state_dict())
    x = torch.from_numpy(tokens(12).astype(np.int64)).view(4, 3)
    h, read = torch.zeros(4, 5, dtype=torch.float64), []
    for t in range(3):
        h = F.relu((h + network.embed.weight[x[:, t]]) @ network.linear.weight.t() + network.linear.bias)
        read.append(norm(h))
    logits, (state,) = network(x, network.initial(4))
    torch.testing.assert_close(logits, torch.stack(read, 1) @ network.output.weight.t() + network.output.bias)
    torch.testing.assert_close(state, h)
    norm.eval()
    with torch.inference_mode():
        found = network(x[:1, :1], network.initial(1))[0][0, 0]
        h = F.relu(network.embed.weight[x[0, :1]] @ network.linear.weight.t() + network.linear.bias)
        torch.testing.assert_close(found, (norm(h) @ network.output.weight.t() + network.output.bias)[0])


def normed(**settings):
    return shaken(BatchNormRecurrent(task(), hidden=5, cell="elman", **settings)).double()


def test_batch_norm_stands_between_state_and_output():
    """While it learns by the batch's statistics, then by those it remembers: as `nn.BatchNorm1d` has it."""
    model, x = normed(), torch.from_numpy(tokens(24).astype(np.int64)).view(4, 6)
    layer = nn.BatchNorm1d(5).double()
    layer.load_state_dict(model.norm.state_dict())
    h = torch.stack([model(x[:, : t + 1], model.initial(4))[1][0] for t in range(6)])
    model.norm.load_state_dict(layer.state_dict())  # as before those six
    logits, _ = model(x, model.initial(4))
    expected = layer(h.flatten(0, 1)).unflatten(0, (6, 4)).transpose(0, 1) @ model.W_q.t() + model.b_q
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(model.norm.running_mean, layer.running_mean)
    with torch.inference_mode():
        found = model(x, model.initial(4))[0]
        again = layer.eval()(h.flatten(0, 1)).unflatten(0, (6, 4)).transpose(0, 1) @ model.W_q.t() + model.b_q
    torch.testing.assert_close(found, again)
    assert not torch.allclose(found, logits)


def test_weights_begin_as_in_the_pytorch_of_the_course():
    loop = SharedMatrixNetwork(elman.TextTask(elman.Vocab.bytes()), hidden=64, seed=1)
    cells = BatchNormRecurrent(task(), hidden=400, cell="gru", init="torch", embedding=8, seed=1)
    assert float(loop.embed.weight.detach().std()) == pytest.approx(1, abs=0.03)
    for p in (*loop.linear.parameters(), *loop.output.parameters()):
        assert float(p.detach().abs().max()) == pytest.approx(1 / 8, abs=0.01)
    for scale in (loop.norm.weight.detach(), cells.norm.weight.detach()):
        assert float(scale.min()) >= 0
        assert float(scale.mean()) == pytest.approx(0.5, abs=0.12)
    assert torch.equal(SharedMatrixNetwork(task(), seed=2).norm.weight, SharedMatrixNetwork(task(), seed=2).norm.weight)
    assert torch.equal(BatchNormRecurrent(task(), hidden=4, drawn_scale=False).norm.weight, torch.ones(4))


def test_the_stages_are_the_networks_of_their_sources():
    loop = V * 64 + 64 * 64 + 64 + 64 * V + V + 2 * 64
    for name in (UNROLLED, LAST, LOOP):
        assert SharedMatrixNetwork(task(), **COURSE[name]["model"]).parameter_count() == loop, name
    layers = {TWO: nn.GRU(64, 64, 2), SMALL: nn.GRU(56, 56), RNN: nn.RNN(64, 64)}
    for name, layer in layers.items():
        hidden, cells = layer.hidden_size, sum(p.numel() for p in layer.parameters())
        count = BatchNormRecurrent(task(), **COURSE[name]["model"]).parameter_count()
        assert count == cells + V * hidden + hidden * V + V + 2 * hidden, name
    assert COUNTERS[COPYING]["model"]["copy_window"] == 16


# --- training and scoring


def test_the_schedule_is_that_of_fastai():
    """Half cosines: lr / 25 to lr in 0.3 of the steps and beta 0.95 to 0.85, then to lr / 250,000 and back."""
    assert one_cycle(0, 100, 1.0, 0.3) == pytest.approx((0.04, 0.95))
    assert one_cycle(15, 100, 1.0, 0.3) == pytest.approx((0.52, 0.9))
    assert one_cycle(30, 100, 1.0, 0.3) == pytest.approx((1.0, 0.85))
    assert one_cycle(65, 100, 1.0, 0.3) == pytest.approx(((1 + 4e-6) / 2, 0.9))
    rate, beta = one_cycle(99, 100, 1.0, 0.3)
    assert 4e-6 < rate < 1e-3
    assert beta == pytest.approx(0.95, abs=1e-4)


@pytest.mark.parametrize(("last", "fresh"), [(False, False), (True, True), (False, True)])
def test_scoring_is_one_prediction_at_a_time(last, fresh):
    """Each stream carries its state from window to window; a token counts as often as the circle brings it back."""
    model, n, nats, right = tiny(cell="gru"), len(IDS), [], []
    for row in range(4):
        state = model.initial(1)
        for i in range(math.ceil(n / 20) * 5):
            at = n * row // 4 + i
            if fresh and i % 5 == 0:
                state = model.initial(1)
            with torch.no_grad():
                logits, state = model(torch.tensor([[int(IDS[at % n])]]), state)
            if not last or i % 5 == 4:
                p, target = torch.softmax(logits[0, 0].double(), -1), int(IDS[(at + 1) % n])
                nats.append(-math.log(float(p[target])))
                right.append(int(p.argmax()) == target)
    found = validate(model, IDS, model.initial(4), window=5, last=last, fresh=fresh)
    assert found.nats == pytest.approx(np.mean(nats), rel=1e-5)
    assert found.accuracy == pytest.approx(np.mean(right))


def as_pytorch_layers(model):
    """Its embedding, GRU, batch norm and output as PyTorch's layers, the same weights."""
    layer, hidden = model.stack[0], model.widths[0]
    gru, norm, output = nn.GRU(hidden, hidden, batch_first=True), nn.BatchNorm1d(hidden), nn.Linear(hidden, V)
    found = {"weight_ih_l0": layer.W_x, "weight_hh_l0": layer.W_h, "bias_ih_l0": layer.b_x, "bias_hh_l0": layer.b_h}
    gru.load_state_dict(found)
    norm.load_state_dict(model.norm.state_dict())
    output.load_state_dict({"weight": model.W_q, "bias": model.b_q})
    return nn.ModuleList((nn.Embedding.from_pretrained(model.embed.detach().clone(), freeze=False), gru, norm, output))


@pytest.mark.parametrize("warmup", [0.3, None])
def test_a_training_is_that_of_pytorch_written_out(warmup):
    """AdamW, one-cycle and carried states, or Adam and fresh ones: after two epochs the same loss and accuracy."""
    settings = {"cell": "gru", "hidden": 6, "embedding": 6, "init": "torch"}
    model = BatchNormRecurrent(task(), seed=4, engine="loop", **settings).double()
    layers = as_pytorch_layers(model).double()
    embed, gru, norm, output = layers
    adam = torch.optim.Adam(layers.parameters(), lr=1e-2, betas=(0.9, 0.999 if warmup is None else 0.99))
    other, fresh, batch, window = with_start(tokens(40, seed=5)), warmup is None, 3, 4
    state, step, average, steps = torch.zeros(1, 3, 6, dtype=torch.float64), 0, 0.0, 2 * math.ceil(54 / 12)
    for _ in range(2):
        layers.train()
        for x, y in streams(IDS, batch, window):
            lr = 1e-2
            if warmup is not None:
                lr, beta = one_cycle(step, steps, 1e-2, warmup)
                adam.param_groups[0].update(lr=lr, betas=(beta, 0.99))
                decay = 1 - 0.01 * lr
            else:
                decay = 1.0
            h, after = gru(embed(x), torch.zeros_like(state) if fresh else state)
            loss = F.cross_entropy(output(norm(h.flatten(0, 1))), y.flatten())
            adam.zero_grad()
            loss.backward()
            with torch.no_grad():
                for p in layers.parameters():
                    p.mul_(decay)
            adam.step()
            state, step, average = after.detach(), step + 1, 0.98 * average + 0.02 * float(loss.detach())
        layers.eval()
        costs, hits = [], []
        with torch.no_grad():
            for x, y in streams(other, batch, window):
                h, state = gru(embed(x), torch.zeros_like(state) if fresh else state)
                logits = output(norm(h.flatten(0, 1)))
                costs.append(float(F.cross_entropy(logits, y.flatten())))
                hits.append(float((logits.argmax(-1) == y.flatten()).double().mean()))
    found = fit(model, IDS, other, epochs=2, lr=1e-2, window=window, batch=batch, warmup=warmup, fresh=fresh)
    assert found.learnt == pytest.approx(average / (1 - 0.98**step), rel=1e-6)
    assert found.held_out.nats == pytest.approx(np.mean(costs), rel=1e-6)
    assert found.held_out.accuracy == pytest.approx(np.mean(hits))
    assert len(found.accuracies) == step


@pytest.mark.parametrize("last", [False, True])
def test_the_last_token_of_a_window_alone_is_learnt_where_it_is_asked_for(last):
    """The loss of one batch at a learning rate of 0."""
    network, again = (SharedMatrixNetwork(task(), hidden=4, normalized_state=True, seed=1) for _ in range(2))
    inputs, targets = next(streams(IDS[:6], 2, 3))
    logits, _ = again(inputs, again.initial(2))
    cost = [float(F.cross_entropy(logits[:, t], targets[:, t]).detach()) for t in range(3)]
    done = fit(network, IDS[:6], IDS, epochs=1, lr=0.0, window=3, batch=2, warmup=None, last=last, fresh=True)
    assert done.learnt == pytest.approx(cost[-1] if last else np.mean(cost), rel=1e-5)
    assert done.accuracies.tolist() == [float((logits[:, -1].argmax(-1) == targets[:, -1]).double().mean())]


# --- roll-outs


def test_digits_of_the_thousands_are_told_from_the_rest():
    """Token 9 follows them; the last token is not scored."""
    reference = np.array([[1, 9, 2, 3, 9], [1, 9, 2, 3, 4], [1, 9, 2, 3, 4]])
    generated = np.array([[1, 9, 2, 4, 0], [5, 9, 2, 3, 0], [1, 9, 2, 3, 0]])
    found = thousands(Rollouts(reference[:, :2], reference, generated), 9)
    assert found == {"exact": 1 / 3, "exact_but_thousands": 1.0, "thousands": 2 / 4}


def test_no_continuation_of_held_out_numbers_can_do_without_two_digits_that_training_never_shows():
    corpus = elman.read_corpus(["human-numbers"])
    thousand = corpus.vocab["thousand"]
    learnt, unseen = (part.ids.astype(np.int64) for part in corpus.parts)
    before = {name: ids[:-1][ids[1:] == thousand] for name, ids in (("learnt", learnt), ("unseen", unseen))}
    assert not set(before["learnt"].tolist()) & set(before["unseen"].tolist())
    digits = np.concatenate((unseen[1:] == thousand, [False]))
    assert min(digits[i : i + 20].sum() for i in range(len(unseen) - 21)) == 2
    assert len(corpus.vocab.encode(EXAMPLE)) == 20


def test_the_spread_is_that_of_three_trainings_of_one_network():
    """Notebook 6b: nn.GRU, GRUCell and its own cell."""
    three = np.array([(0.529737, 1.528556, 0.704883), (0.483452, 1.246448, 0.773112), (0.380289, 1.481691, 0.732617)])
    assert PUBLISHED[SMALL] == pytest.approx(np.median(three, axis=0), abs=5e-4)
    assert pytest.approx(np.ptp(three, axis=0), abs=3e-3) == SPREAD
