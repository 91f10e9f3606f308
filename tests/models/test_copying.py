"""The copy head: against its equations in single numbers, the network without it, and where numbers run out."""

import math

import numpy as np
import pytest
import torch
from helpers import V, copying, shaken, task, tokens

import elman
from elman.engines.sampling import Sampling
from elman.errors import ConfigError, ModelError
from elman.models import copying as module
from elman.models.build import build_network
from elman.models.saving import model_files
from elman.rng import numpy_generator
from elman.storage.folder import write_folder

N = 4


def copier(**settings):
    return shaken(copying(task(), **{"hidden": 5, "copy_window": N, "cell": "elman", **settings})).double()


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def definition(model, read):
    """P_t after each token of `read`, from a fresh state: sums and products of single numbers."""
    w = {name: p.tolist() for name, p in model.tensors().items()}
    units, h, past, found = range(model.widths[0]), w["layers.0.start"][0], [], []
    for t, token in enumerate(read):
        x = [w["layers.0.W_x"][i][token] + w["layers.0.b_x"][i] + w["layers.0.b_h"][i] for i in units]
        h = [math.tanh(x[i] + dot(w["layers.0.W_h"][i], h)) for i in units]
        past.append(h)
        sought = [dot(w["W_c"][i], h) + w["b_c"][i] for i in units]
        e = {j: dot(sought, past[t - j]) for j in range(1, model.config.copy_window + 1) if t - j >= 0}
        e[0] = dot(w["w_g"], h) + w["b_g"][0]
        scores = [math.exp(dot(w["W_q"][v], h) + w["b_q"][v]) for v in range(V)]
        mass = sum(map(math.exp, e.values()))
        p = [math.exp(e[0]) / mass * s / sum(scores) for s in scores]
        for j in e.keys() - {0}:
            p[read[t - j + 1]] += math.exp(e[j]) / mass
        found.append(p)
    return np.array(found)


@pytest.mark.parametrize("copy", [1, N, 30])
@pytest.mark.parametrize("piece", [128, 3])
def test_probabilities_are_the_equations(monkeypatch, copy, piece):
    monkeypatch.setattr(module, "PIECE", piece)
    model, read = copier(copy_window=copy), [0, *tokens(11, size=4).tolist()]
    logits, _ = model(torch.tensor([read, read[::-1]]), model.initial(2))
    for row, each in zip(torch.softmax(logits, -1).detach().numpy(), (read, read[::-1]), strict=True):
        np.testing.assert_allclose(row, definition(model, each), rtol=1e-9)


def test_the_state_is_the_last_states_and_what_was_read_with_them():
    model, read = copier(), torch.from_numpy(tokens(9).astype(np.int64))[None]
    h = [model(read[:, :t], model.initial(1))[1][0] for t in range(1, 10)]
    for t in (2, 9):
        _, (last, states, known) = model(read[:, :t], model.initial(1))
        kept = range(max(0, t - N), t)
        torch.testing.assert_close(states[0, N - len(kept) :], torch.cat([h[i] for i in kept]))
        assert known[0].tolist() == [V] * (N - len(kept)) + [int(read[0, i]) for i in kept]
        torch.testing.assert_close(last, states[:, -1])


def test_an_open_gate_is_the_network_alone_and_a_closed_one_only_copies():
    model, read = copier(), torch.tensor([[1, 2, 1, 2, 1]])
    alone = elman.Recurrent(task(), cell="elman", hidden=5).double()
    alone.load_state_dict({name: t for name, t in model.tensors().items() if name in alone.state_dict()})
    with torch.no_grad():
        model.b_g.fill_(200.0)
        expected = torch.softmax(alone(read, alone.initial(1))[0], -1)
        torch.testing.assert_close(torch.softmax(model(read, model.initial(1))[0], -1), expected)
        model.b_g.fill_(-200.0)
        p = torch.softmax(model(read, model.initial(1))[0], -1)[0]
    torch.testing.assert_close(p[0], expected[0, 0])  # nothing to copy yet
    torch.testing.assert_close(p[1:, [1, 2]].sum(-1), torch.ones(4).double())
    assert p[1, 2] == 1  # one place
    assert p[2:, 1].min() > 0.01


def test_scores_beyond_what_an_exponential_holds_are_finite_and_so_are_their_gradients():
    model, read = copier().float(), torch.from_numpy(tokens(20).astype(np.int64))[None]
    with torch.no_grad():
        model.W_c.mul_(1e4)
    cost, _ = model.loss(read[:, :-1], read[:, 1:], model.initial(1))
    cost.backward()
    assert torch.isfinite(cost)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_gradients_are_those_of_finite_differences():
    model, read = copier(), torch.from_numpy(tokens(8, size=4).astype(np.int64))[None]
    state = tuple(s.detach() for s in model(read, model.initial(1))[1])

    def cost(*values):
        replaced = dict(zip(dict(model.named_parameters()), values, strict=True))
        logits, _ = torch.func.functional_call(model, replaced, (read[:, :-1], state))
        return model.task.nats(logits, read[:, 1:])

    learnt = tuple(p.detach().requires_grad_(p.requires_grad) for p in model.parameters())
    torch.autograd.gradcheck(cost, learnt)
    torch.testing.assert_close(model.loss(read[:, :-1], read[:, 1:], state)[0], cost(*learnt))


@pytest.mark.parametrize("samples", [1, 3])
def test_generating_reads_what_was_written(samples):
    """Several samples of one prompt each remember their own text."""
    model = copier(cell="gru").float()
    texts = elman.generate(model, "abcab", 12, samples=samples, temperature=0.9, seed=3)
    assert len(set(texts)) == samples
    numbers = numpy_generator(3, "samples").random((12, samples))
    draw, expected = Sampling(0.9), [""] * samples
    for t in range(12):
        for i in range(samples):
            read = torch.tensor([[0, *model.task.vocab.encode("abcab" + expected[i]).tolist()]])
            logits = model(read, model.initial(1))[0][:, -1].detach().numpy()
            logits[:, 0] = -np.inf
            expected[i] += model.task.vocab.idx_to_token[int(draw(logits, numbers[t, i : i + 1])[0])]
    assert texts == expected


def test_it_learns_to_repeat_where_the_network_alone_does_not():
    """Five random letters, four times over: from the second time on nothing need be guessed."""
    rng = np.random.default_rng(0)
    train, test = (
        np.concatenate([np.tile(rng.integers(1, V, 5), 4) for _ in range(n)]).astype(np.uint8) for n in (100, 20)
    )
    found = []
    for model in (copying(task(), copy_window=8, hidden=16), elman.Recurrent(task(), hidden=16)):
        elman.fit(model, train, epochs=8, batch=8, window=20, lr=2e-2)
        found.append(elman.surprisals(model, test).reshape(-1, 20)[:, 8:].mean())
    assert found[0] < 0.4 * found[1], found


def test_settings_choose_it():
    assert type(build_network(task(), {"copy_window": 3, "cell": "lstm", "hidden": 4}, seed=0)) is elman.CopyHead
    assert type(build_network(task(), {"hidden": 4}, seed=0)) is elman.Recurrent
    made = build_network(task(), {"copy_window": 3, "cell": "lstm", "hidden": 4}, seed=0)
    assert (made.name, made.config.copy_window) == ("lstm + copy", 3)
    assert made.operations() == elman.Recurrent(task(), cell="lstm", hidden=4).operations() + 4 * 4 + 4 * 4


def test_a_seed_gives_the_same_head_whatever_else_is_random():
    first, second, other = (copying(task(), hidden=4, seed=seed).W_c for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"copy_window": 3, "model": "mlp"}, "'mlp' has no setting 'copy_window'"),
        ({"copy_window": 3, "model": "gru"}, "there is no model 'gru'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        build_network(task(), settings, seed=0)


@pytest.mark.parametrize("copy", [0, -1, 4097])
def test_a_head_that_looks_nowhere_or_too_far_is_refused(copy):
    with pytest.raises(ConfigError, match=rf"copy_window (= |is )?{copy}\b"):
        copying(task(), copy_window=copy)


@pytest.mark.parametrize("copy", [5000, True, 2.5])
def test_a_saved_model_whose_head_cannot_be_is_refused(tmp_path, copy):
    files = model_files(copier().float(), np.zeros(V, np.int64))
    files["model.json"] = files["model.json"].replace(
        b'"copy_window": 4', f'"copy_window": {str(copy).lower()}'.encode()
    )
    write_folder(tmp_path / "m", files)
    with pytest.raises(ModelError, match="does not describe a model"):
        elman.load(tmp_path / "m")
