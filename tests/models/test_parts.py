"""Optional parts of a recurrent network, against their equations in scalars."""

import math

import pytest
import torch
from helpers import V, supported, task, tiny
from scalar_cells import UNITS, sigmoid

import elman
from elman.engines import ENGINES
from elman.errors import ConfigError

Vector = list[float]
PARTS = {
    "layer_norm": {"layer_norm": True},
    "residual": {"residual": True},
    "mogrifier": {"mogrifier": 5},
    "one-round": {"mogrifier": 1},
    "two-rounds": {"mogrifier": 2},
    "all": {"layer_norm": True, "residual": True, "mogrifier": 3},
}


def times(W: list[Vector], x: Vector) -> Vector:
    return [sum(w * a for w, a in zip(row, x, strict=True)) for row in W]


def plus(x: Vector, y: Vector) -> Vector:
    return [a + b for a, b in zip(x, y, strict=True)]


def gated(x: Vector, by: Vector, W: list[Vector]) -> Vector:
    return [2 * sigmoid(a) * b for a, b in zip(times(W, by), x, strict=True)]


def scalar_logits(model: elman.Recurrent, tokens: list[int], parts: dict) -> list[Vector]:
    """What one sequence is answered with, a number at a time, from the first state."""
    w = {name: t.tolist() for name, t in model.state_dict().items()}
    unit, gates = UNITS[model.cell.name]
    states = [[list(s) for s in w[f"layers.{n}.start"]] for n in range(len(model.widths))]
    found = []
    for token in tokens:
        below = w["embed"][token]
        for n, H in enumerate(model.widths):
            x, h = below, states[n][0]
            for i in range(parts.get("mogrifier", 0)):
                W = w[f"layers.{n}.mogrifier.rounds.{i}"]
                x, h = (gated(x, h, W), h) if i % 2 == 0 else (x, gated(h, x, W))
            asked = plus(times(w[f"layers.{n}.W_x"], x), w[f"layers.{n}.b_x"])
            past = plus(times(w[f"layers.{n}.W_h"], h), w[f"layers.{n}.b_h"])
            gate = [range(j, gates * H, H) for j in range(H)]
            new = [
                unit([asked[r] for r in gate[j]], [past[r] for r in gate[j]], *(s[j] for s in states[n]))
                for j in range(H)
            ]
            states[n] = [list(s) for s in zip(*new, strict=True)]
            y = states[n][0]
            if parts.get("layer_norm"):
                mean = sum(y) / H
                deviation = math.sqrt(sum((a - mean) ** 2 for a in y) / H + 1e-5)
                gain, bias = w[f"layers.{n}.norm.weight"], w[f"layers.{n}.norm.bias"]
                y = [g * (a - mean) / deviation + b for g, a, b in zip(gain, y, bias, strict=True)]
            below = plus(y, below) if parts.get("residual") and len(below) == H else y
        found.append(plus(times(w["W_q"], below), w["b_q"]))
    return found


@pytest.mark.parametrize("hidden", [[5, 5], [5, 4, 4]])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("name", PARTS)
def test_a_network_with_parts_equals_the_equations(name, cell, hidden):
    model = tiny(cell=cell, hidden=hidden, embedding=5, learn_initial_state=True, **PARTS[name]).double()
    tokens = [[1, 4, 2, 6, 3], [5, 5, 0, 1, 2]]
    logits, _ = model(torch.tensor(tokens), model.initial(2))
    for row, answered in zip(tokens, logits.tolist(), strict=True):
        for found, expected in zip(answered, scalar_logits(model, row, PARTS[name]), strict=True):
            assert found == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_a_residual_is_added_where_widths_agree_and_to_nothing_that_is_one_hot():
    def added(**settings) -> list[bool]:
        return [layer.has_residual for layer in tiny(residual=True, **settings).stack]

    assert added(hidden=[V, V, 3]) == [False, True, False]
    assert added(hidden=[4, 4], embedding=4) == [True, True]
    assert added(hidden=[4, 5, 5], embedding=3) == [False, False, True]


def test_at_its_start_a_mogrifier_is_not_there():
    plain = elman.Recurrent(task(), hidden=6, embedding=4, layers=2, engine="loop")
    model = elman.Recurrent(task(), hidden=6, embedding=4, layers=2, mogrifier=4)
    rounds = [W for layer in model.stack for W in layer.mogrifier.rounds]
    assert [tuple(W.shape) for W in rounds] == [(4, 6), (6, 4)] * 2 + [(6, 6)] * 4
    assert not any(W.any() for W in rounds)
    tokens = torch.tensor([[1, 2, 3, 4]])
    torch.testing.assert_close(model(tokens, model.initial(1))[0], plain(tokens, plain.initial(1))[0])
    with_gates = 2 * 6 * (4 + 4 + 6 + 6)  # two rounds a layer of (I, H), two of (H, I)
    assert model.parameter_count() - plain.parameter_count() == model.operations() - plain.operations() == with_gates


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_gradients_of_a_mogrified_layer_agree_with_finite_differences(cell):
    model = tiny(cell=cell, hidden=3, embedding=2, mogrifier=5).double()
    layer, n = model.stack[0], len(model.cell.states)
    rng = torch.Generator().manual_seed(0)
    inputs, *state = (torch.randn(s, generator=rng).double().requires_grad_() for s in ((2, 3, 2), *[(2, 3)] * n))
    leaves = [inputs, *state, *layer.weights(), *layer.mogrifier.rounds]

    def function(x, *rest):
        outputs, last = layer.mogrifier.run(model.cell, x, rest[:n], layer.weights())
        return outputs, *last

    assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize("engine", [e for e in supported("gru") if e != "loop"])
def test_parts_between_the_layers_of_any_engine(engine):
    """Values, dropout and every gradient are those of the loop."""
    found = {}
    for name in (engine, "loop"):
        model = tiny(hidden=8, layers=3, embedding=8, layer_norm=True, residual=True, dropout=0.3, engine=name).double()
        tokens = torch.randint(V, (3, 6), generator=torch.Generator().manual_seed(1))
        nats, _ = model.loss(tokens, tokens.roll(1, 1), model.initial(3), torch.Generator().manual_seed(2))
        found[name] = nats, *torch.autograd.grad(nats, [p for p in model.parameters() if p.requires_grad])
    torch.testing.assert_close(found[engine], found["loop"])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"mogrifier": 5}, "mogrifier 5 needs an embedding: set embedding above 0"),
        ({"mogrifier": -1, "embedding": 3}, "mogrifier = -1: it must be greater than or equal to 0"),
        ({"mogrifier": 17, "embedding": 3}, "mogrifier = 17: it must be less than or equal to 16"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(settings, told):
    with pytest.raises(ConfigError, match=told) as caught:
        elman.Recurrent(task(), **settings)
    assert "\n" not in str(caught.value)


def test_no_engine_over_time_runs_a_mogrifier():
    model = elman.Recurrent(task(), hidden=4, embedding=3, mogrifier=2, engine="bptt")
    with pytest.raises(ConfigError, match="engine 'bptt' cannot run a mogrifier"):
        _ = model.engine
    assert tiny(embedding=3, mogrifier=2).engine_name == "loop"


@pytest.mark.parametrize("parts", [{"layer_norm": True}, {"residual": True, "layers": 2}, {"mogrifier": 2}])
def test_what_is_written_comes_of_the_steps(parts, monkeypatch):
    """Compiled writing knows no parts, so it must not be taken."""
    model = tiny(hidden=6, embedding=6, **parts)
    written = "".join(elman.generate(model, "ab", 60, temperature=1))
    monkeypatch.setattr(elman.Recurrent, "token_sampler", lambda *_: None)
    assert written == "".join(elman.generate(model, "ab", 60, temperature=1))


def test_dropout_silences_what_is_normed_and_not_what_it_is_added_to():
    model = tiny(hidden=4, embedding=4, layer_norm=True, residual=True, dropout=0.5, engine="loop").double()
    tokens, layer = torch.tensor([[1, 2, 3, 4, 5, 6]]), model.stack[0]
    x = model.embed[tokens]
    h, _ = ENGINES["loop"].run(model.cell, x, model.initial(1), layer.weights())
    mask = torch.empty(1, 6, 4).bernoulli_(0.5, generator=torch.Generator().manual_seed(4)) * 2
    y = x + torch.nn.functional.layer_norm(h, (4,), layer.norm.weight, layer.norm.bias) * mask
    found, _ = model(tokens, model.initial(1), torch.Generator().manual_seed(4))
    torch.testing.assert_close(found, y @ model.output_weight.t() + model.b_q)
