"""The bidirectional network is PyTorch's, and what is measured of it is what the words say."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import elman
from elman.data.sources.time_machine import FILE, data_home
from elman.engines.native import INSTRUCTIONS
from elman.errors import ConfigError
from elman.reproduce.bidirectional import WINDOW, BidirectionalRecurrent, continuation, probe, window_costs
from elman.reproduce.experiments import bidirectional

TASK = elman.TextTask(elman.Vocab.chars("abcdefg"))
BOOK = pytest.mark.skipif(not (data_home() / FILE).exists(), reason="needs The Time Machine (ELMAN_DATA_HOME)")
ENGINES = ["loop", "bptt", "aten", *(["native"] if INSTRUCTIONS else [])]


def pytorchs(model: BidirectionalRecurrent) -> tuple[torch.nn.LSTM, torch.nn.Linear]:
    """PyTorch's network with the same weights."""
    lstm = torch.nn.LSTM(TASK.size, model.config.hidden, 2, bidirectional=True, batch_first=True)
    linear = torch.nn.Linear(2 * model.config.hidden, TASK.size)
    with torch.no_grad():
        for i, layer in enumerate(model.stack):
            name = f"l{i // 2}{'_reverse' * (i % 2)}"
            for theirs, ours in (("weight_ih", "W_x"), ("weight_hh", "W_h"), ("bias_ih", "b_x"), ("bias_hh", "b_h")):
                getattr(lstm, f"{theirs}_{name}").copy_(getattr(layer, ours))
        linear.weight.copy_(model.output_weight)
        linear.bias.copy_(model.b_q)
    return lstm, linear


@pytest.mark.parametrize("engine", ENGINES)
def test_it_is_pytorchs_bidirectional_lstm_of_two_layers(engine):
    """Outputs, the carried state, the loss and all gradients, in the second of two windows."""
    model = BidirectionalRecurrent(TASK, hidden=5, layers=2, seed=3, engine=engine)
    lstm, linear = pytorchs(model)
    tokens = torch.randint(0, TASK.size, (3, 15), generator=torch.Generator().manual_seed(0))
    first, second, targets = tokens[:, :7], tokens[:, 7:14], tokens[:, 8:15]
    _, state = model(first, model.initial(3))
    logits, after = model(second, state)
    one_hot = torch.nn.functional.one_hot(tokens, TASK.size).float()
    _, carried = lstm(one_hot[:, :7])
    y, (h, c) = lstm(one_hot[:, 7:14], carried)
    torch.testing.assert_close(logits, linear(y))
    for i in range(4):  # PyTorch's order: layer 0 forward, layer 0 backward, layer 1 forward, layer 1 backward
        torch.testing.assert_close(after[2 * i], h[i])
        torch.testing.assert_close(after[2 * i + 1], c[i])
    nats, _ = model.loss(second, targets, tuple(s.detach() for s in state))
    y, _ = lstm(one_hot[:, 7:14], tuple(s.detach() for s in carried))
    expected = torch.nn.functional.cross_entropy(linear(y).flatten(0, 1), targets.flatten(), reduction="sum")
    torch.testing.assert_close(nats, expected)
    nats.backward()
    expected.backward()
    for i, layer in enumerate(model.stack):
        name = f"l{i // 2}{'_reverse' * (i % 2)}"
        torch.testing.assert_close(layer.W_x.grad, getattr(lstm, f"weight_ih_{name}").grad)
        torch.testing.assert_close(layer.W_h.grad, getattr(lstm, f"weight_hh_{name}").grad)
        torch.testing.assert_close(layer.b_h.grad, getattr(lstm, f"bias_hh_{name}").grad)
    torch.testing.assert_close(model.output_weight.grad, linear.weight.grad)


def test_it_starts_as_pytorch_does_and_has_as_many_weights():
    model = BidirectionalRecurrent(TASK, hidden=16, seed=0)
    lstm, linear = pytorchs(model)
    assert model.parameter_count() == sum(p.numel() for p in (*lstm.parameters(), *linear.parameters()))
    for layer in model.stack:
        for p in (layer.W_x, layer.W_h, layer.b_x, layer.b_h):
            assert 0.2 < float(p.detach().abs().max()) <= 0.25  # 1 / sqrt(16)
    assert float(model.output_weight.detach().abs().max()) <= 32**-0.5


def test_it_is_no_family_that_can_be_trained_by_its_name():
    from elman.models.base import FAMILIES

    assert BidirectionalRecurrent not in FAMILIES.values()
    with pytest.raises(ConfigError, match="reads the token that it is to predict"):
        elman.Config.resolve(("test", {"bidirectional": True}))


def test_only_the_last_output_of_a_window_has_not_read_its_target():
    model = BidirectionalRecurrent(TASK, hidden=4, seed=0)
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]])
    with torch.no_grad():
        logits, _ = model(tokens, model.initial(1))
        for t in range(6):
            changed = tokens.clone()
            if t < 5:
                changed[0, t + 1] = 7
            moved, _ = model(changed, model.initial(1))
            assert torch.equal(moved[0, t], logits[0, t]) == (t == 5)


def test_costs_are_those_of_windows_with_a_carried_state():
    ids = np.random.default_rng(0).integers(1, 8, 40).astype(np.uint8)
    model, starts = BidirectionalRecurrent(TASK, hidden=4, seed=0), np.array([0, 3, 11])
    found = window_costs(model, ids, starts, window=5, count=4)
    assert found.shape == (3, 4, 5)
    lstm, linear = pytorchs(model)
    for row, start in enumerate(starts):
        state = None
        for n in range(4):
            at = start + 5 * n
            read = torch.nn.functional.one_hot(torch.from_numpy(ids[at : at + 5].astype(np.int64)), TASK.size).float()
            y, state = lstm(read[None], state)
            nats = torch.nn.functional.cross_entropy(
                linear(y)[0], torch.from_numpy(ids[at + 1 : at + 6].astype(np.int64)), reduction="none"
            )
            np.testing.assert_allclose(found[row, n], nats.detach().numpy(), rtol=1e-5)


def test_costs_of_a_network_that_reads_forward_do_not_depend_on_the_window():
    ids = np.random.default_rng(1).integers(1, 8, 25).astype(np.uint8)
    model = elman.Recurrent(TASK, cell="lstm", hidden=4, seed=0)
    one, six = (window_costs(model, ids, np.array([0]), window, 24 // window) for window in (1, 6))
    np.testing.assert_allclose(one.ravel(), six.ravel(), rtol=1e-5)


class Rule:
    """A model whose most probable next token is a function of the window."""

    def __init__(self, rule):
        self.task, self.rule = TASK, rule

    def initial(self, batch):
        return ()

    def __call__(self, inputs, state):
        return torch.nn.functional.one_hot(self.rule(inputs), TASK.size).float(), state


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (lambda x: x.roll(-1, 1), {"right": 1.0, "follows": 1.0, "past": 0.0}),  # it copies the next token
        (lambda x: x % 7 + 1, {"right": 1.0, "follows": 0.0, "past": 1.0}),  # it counts on
    ],
)
def test_the_probe_tells_a_copier_from_a_model_that_knows(rule, expected):
    counting = (np.arange(400) % 7 + 1).astype(np.uint8)
    assert probe(Rule(rule), counting, seed=0, places=50) == expected


def test_what_is_written_repeats_the_last_two_tokens_if_the_backward_state_is_copied():
    """A network that believes that what its backward direction has read last follows: "erererer" after "traveller"."""

    class Carried(Rule):
        def initial(self, batch):
            return (torch.zeros(batch, 1, dtype=torch.int64),)

        def __call__(self, inputs, state):
            following = torch.cat((inputs[:, 1:], state[0]), 1)  # the window before ended, backward, at its first token
            return torch.nn.functional.one_hot(following, TASK.size).float(), (inputs[:, :1],)

    written = continuation(Carried(None), "abcde", 6)
    assert TASK.vocab.decode(written) == "dedede"
    assert bidirectional.echoes(TASK.vocab, "abcde", written) == 1.0


def test_a_continuation_reads_one_token_at_a_time():
    assert continuation(Rule(lambda x: x % 7 + 1), "cab", 6) == [3, 4, 5, 6, 7, 1]


@BOOK
def test_training_ends_at_the_first_epoch_that_is_printed_as_published(monkeypatch):
    seen = {}

    def instead(model, text, held_out, settings):
        seen.update(model=model, settings=settings, tokens=len(text.ids))
        for perplexity in (17.0, 1.1501, 1.149, 1.09):
            yield SimpleNamespace(epoch_ended=False, perplexity=1.1)
            yield SimpleNamespace(epoch_ended=True, perplexity=perplexity)

    monkeypatch.setattr(elman, "train", instead)
    found = bidirectional.train(epochs=500, seed=0, hidden=4, scored=200)
    assert found["train"] == [17.0, 1.1501, 1.149]
    assert (seen["tokens"], seen["model"].config.layers, seen["model"].cell.name) == (10_000, 2, "lstm")
    s = seen["settings"]
    assert (s.batch, s.window, s.lr, s.clip, s.optimizer, s.schedule) == (32, WINDOW, 1.0, 1.0, "sgd", "constant")
    assert s.batching == "reference-sequential"
    assert len(found["positions"]["held-out"]) == WINDOW
    assert all(len(text) == 50 for text in found["texts"].values())
    assert found["texts"].keys() == found["echoes"].keys() == set(bidirectional.PROMPTS)


def test_gaps_are_filled_in_every_way_and_counted_by_hand(monkeypatch):
    """Two gaps of 2 characters: each way fills "ab" always."""
    vocab = elman.Vocab.chars("ab")
    text = vocab.encode("ab" * 200)
    model = SimpleNamespace(task=elman.TextTask(vocab))
    fill = SimpleNamespace(tokens=vocab.encode("ab").astype(np.int64))
    calls = []

    def instead(forward, backward, left, right, length, beam=32):
        calls.append((forward is not None, backward is not None, len(left), len(right), length))
        return [fill]

    monkeypatch.setattr(bidirectional, "infill", instead)
    found = bidirectional.fill_gaps(model, model, text, 2, np.array([0, 1, 3, 5]))
    assert set(found) == set(bidirectional.WAYS)
    assert all(shares == {"exact": 0.25, "characters": 0.25} for shares in found.values())
    assert calls[:5] == [
        (True, False, 100, 0, 2), (False, True, 0, 100, 2), (True, False, 100, 100, 2), (False, True, 100, 100, 2),
        (True, True, 100, 100, 2),
    ]  # fmt: skip
