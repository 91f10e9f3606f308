"""Clipping, schedules and the optimisers' steps, each against its formula."""

import math
from dataclasses import replace

import pytest
import torch
from helpers import hybrid, shaken, task, tiny, weights
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import elman
from elman.cells import CELLS
from elman.config import TrainSettings
from elman.engines import ENGINES
from elman.errors import DivergedError
from elman.training.loop import TrainState
from elman.training.optim import clip_gradients, optimizer_for, rate

CPU = torch.device("cpu")
S = TrainSettings(lr=2.0)
lists = st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=5), min_size=1, max_size=4)


def with_gradients(*gradients: list[float] | None) -> list[tuple[str, nn.Parameter]]:
    named = []
    for i, g in enumerate(gradients):
        p = nn.Parameter(torch.zeros(len(g or [0.0])))
        p.grad = None if g is None else torch.tensor(g)
        named.append((f"p{i}", p))
    return named


def gradients(named: list[tuple[str, nn.Parameter]]) -> list[float]:
    return [float(x) for _, p in named if p.grad is not None for x in p.grad]


# --- clipping (Pascanu et al. 2013)


@given(lists, st.floats(1e-3, 1e3))
def test_the_norm_never_exceeds_the_limit_and_the_direction_stays(values, limit):
    named = with_gradients(*values)
    before = gradients(named)
    norm = math.sqrt(math.fsum(x * x for x in before))
    returned = clip_gradients(named, limit)
    after = gradients(named)
    assert returned == pytest.approx(norm, rel=1e-5, abs=1e-30)
    factor = 1.0 if norm <= limit else limit / norm
    assert after == pytest.approx([factor * x for x in before], rel=1e-4, abs=1e-30)
    assert math.sqrt(math.fsum(x * x for x in after)) <= max(limit, 0) * (1 + 1e-5)


def test_the_norm_is_over_all_parameters_together():
    named = with_gradients([3.0], [4.0])
    assert clip_gradients(named, 1.0) == pytest.approx(5.0)
    assert gradients(named) == pytest.approx([0.6, 0.8])


def test_at_and_below_the_limit_no_bit_changes():
    for limit in (5.0, 5.1, 100.0):
        named = with_gradients([3.0], [4.0])
        clip_gradients(named, limit)
        assert gradients(named) == [3.0, 4.0]


def test_a_limit_of_zero_only_measures():
    named = with_gradients([3.0, 4.0])
    assert clip_gradients(named, 0.0) == pytest.approx(5.0)
    assert gradients(named) == [3.0, 4.0]


def test_parameters_without_a_gradient_are_passed_over():
    named = with_gradients([6.0], None, [8.0])
    assert clip_gradients(named, 1.0) == pytest.approx(10.0)
    assert gradients(named) == pytest.approx([0.6, 0.8])
    assert named[1][1].grad is None


def test_without_any_gradient_the_norm_is_zero():
    assert clip_gradients(with_gradients(None, None), 1.0) == 0.0
    assert clip_gradients([], 1.0) == 0.0


def test_a_generator_of_parameters_is_clipped_too():
    named = with_gradients([3.0], [4.0])
    clip_gradients((pair for pair in named), 1.0)
    assert gradients(named) == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_names_its_parameter(bad, limit):
    with pytest.raises(DivergedError, match="gradient of p1 is not finite"):
        clip_gradients(with_gradients([1.0], [2.0, bad], [3.0]), limit)


def test_gradients_whose_norm_overflows_together_are_refused():
    with pytest.raises(DivergedError, match="all parameters together"):
        clip_gradients(with_gradients([3e38], [3e38]), 1.0)


# --- schedules


@pytest.mark.parametrize(
    ("schedule", "fraction", "expected"),
    [
        ("constant", 0.0, 2.0),
        ("constant", 1.0, 2.0),
        ("step", 0.0, 2.0),
        ("step", 0.499, 2.0),
        ("step", 0.5, 0.2),
        ("step", 0.749, 0.2),
        ("step", 0.75, 0.02),
        ("step", 1.0, 0.02),
        ("cosine", 0.0, 2.0),
        ("cosine", 0.5, 2.0 * (0.1 + 0.9 / 2)),
        ("cosine", 1 / 3, 2.0 * (0.1 + 0.9 * 0.75)),
        ("cosine", 1.0, 0.2),
        ("one-cycle", 0.0, 0.0),
        ("one-cycle", 0.1, 1.0),
        ("one-cycle", 0.2, 2.0),
        ("one-cycle", 0.6, 2.0 * (0.1 + 0.9 / 2)),
        ("one-cycle", 1.0, 0.2),
    ],
)
def test_the_corners_of_the_schedules(schedule, fraction, expected):
    settings = replace(S, schedule=schedule, warmup=0.2, final_lr=0.1)
    assert rate(settings, fraction) == pytest.approx(expected, abs=1e-12)


@given(
    st.sampled_from(["one-cycle", "cosine", "step", "constant"]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(-1, 2),
)
def test_a_rate_is_never_negative_nor_above_its_peak(schedule, warmup, final, fraction):
    settings = TrainSettings(lr=2.0, schedule=schedule, warmup=warmup, final_lr=final)
    assert 0 <= rate(settings, fraction) <= 2.0 * (1 + 1e-12)
    assert rate(settings, fraction) == rate(settings, min(max(fraction, 0), 1))


def test_warming_up_not_at_all_or_all_the_time():
    assert rate(replace(S, warmup=0.0), 0.0) == 2.0
    assert rate(replace(S, warmup=1.0), 0.5) == 1.0
    assert rate(replace(S, warmup=1.0), 1.0) == 2.0


# --- steps


def one_step(settings: TrainSettings):
    """The weights before and after a step, and the gradients, of a model whose every gradient is known."""
    model = tiny(hidden=3)
    optimizer = optimizer_for((p for _, p in model.trained_parameters()), settings)
    for i, p in enumerate(q for q in model.parameters() if q.requires_grad):
        p.grad = torch.empty_like(p).copy_(torch.linspace(-1, 1.5, p.numel()).reshape(p.shape) * (i + 1))
    before, given = weights(model), {n: p.grad for n, p in model.named_parameters()}
    optimizer.step()
    return before, given, weights(model)


def test_a_step_of_sgd():
    before, given, after = one_step(TrainSettings(optimizer="sgd", lr=0.25, weight_decay=0.5))
    for name, w in before.items():
        expected = w if given[name] is None else w - 0.25 * given[name]
        torch.testing.assert_close(after[name], expected)


def test_a_first_step_of_adamw_decays_matrices_and_not_biases():
    """The first step of Adam is the sign of the gradient, times the rate; decay is apart from it."""
    lr, decay = 0.01, 0.4
    before, given, after = one_step(TrainSettings(lr=lr, weight_decay=decay))
    for name, w in before.items():
        if given[name] is None:
            assert torch.equal(after[name], w)
            continue
        g = given[name]
        kept = w * (1 - lr * decay) if w.dim() > 1 else w
        torch.testing.assert_close(after[name], kept - lr * g / (g.abs() + 1e-8), rtol=1e-5, atol=1e-6)


DECAYED = {
    "recurrent": {"embed", "W_q", *(f"layers.{n}.{W}" for n in (0, 1) for W in ("W_x", "W_h"))}
    | {f"layers.{n}.mogrifier.rounds.{i}" for n in (0, 1) for i in range(3)},
    "mlp": {"embed", "W", "W_q"},
}
PARTS = {
    "embedding": 4, "hidden": 4, "layers": 2, "learn_initial_state": True, "layer_norm": True, "residual": True,
    "mogrifier": 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "decayed"),
    [
        (lambda: elman.Recurrent(task(), cell="lstm", **PARTS), DECAYED["recurrent"]),
        (lambda: hybrid(task(), ngram_experts=3, **PARTS), DECAYED["recurrent"] | {"A", "C"}),
        (
            lambda: elman.CopyHead(hybrid(task(), ngram_experts=3, **PARTS), copy_window=3),
            DECAYED["recurrent"] | {"A", "C", "W_c"},
        ),
        (lambda: elman.build_network(task(), {"model": "mlp", "hidden": 4, "embedding": 3}), DECAYED["mlp"]),
        (lambda: elman.build_network(task(), {"model": "mlp", "hidden": 4}), DECAYED["mlp"] - {"embed"}),
    ],
)
def test_weight_decay_acts_on_matrices_of_weights_and_on_nothing_else(model, decayed):
    """With gradients of zero, decay alone moves a number, by (1 - lr decay): the learnt initial state not at all."""
    network = shaken(model())
    training = TrainState.begin(network, TrainSettings(lr=0.1, weight_decay=0.5))
    before = {name: p.detach().clone() for name, p in network.trained_parameters()}
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    training.optimizer.step()
    for name, p in network.trained_parameters():
        torch.testing.assert_close(p, before[name] * (0.95 if name in decayed else 1.0))
    assert decayed < set(before)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_checkpoints_number_parameters_as_before_roles_decided_on_decay(optimizer):
    """Matrices by shape, the initial state among them, then vectors; of SGD all in the order of the network."""
    network = elman.Recurrent(task(), hidden=3, layers=2, learn_initial_state=True)
    training = TrainState.begin(network, TrainSettings(optimizer=optimizer))
    names = {id(p): name for name, p in network.trained_parameters()}
    rows = [f"layers.{n}.{each}" for n in (0, 1) for each in ("W_x", "W_h", "b_x", "b_h", "start")]
    expected = ["W_q", "b_q", *rows]
    if optimizer == "adamw":
        expected.sort(key=lambda name: ".b_" in name or name == "b_q")
    assert [names[id(p)] for p in training.parameters] == expected


def test_only_what_learns_is_given_to_the_optimiser():
    model = tiny(learn_initial_state=False)
    given = {
        id(p) for g in optimizer_for((p for _, p in model.trained_parameters()), S).param_groups for p in g["params"]
    }
    assert given == {id(p) for p in model.parameters() if p.requires_grad}
    assert id(model.stack[0].start) not in given
    assert id(tiny(learn_initial_state=True).stack[0].start) not in given


@pytest.mark.parametrize(
    "engine", [name for name in ENGINES if ENGINES[name].supports(CELLS["gru"], CPU, torch.float32)]
)
@pytest.mark.parametrize("embedding", [0, 4])
def test_a_gradient_lies_in_memory_as_its_parameter_does(engine, embedding):
    """The fused optimizers of PyTorch read memory in order and see no strides."""
    model = tiny(hidden=3, engine=engine, embedding=embedding, layers=2)
    inputs = torch.tensor([[1, 2, 3], [2, 1, 0]])
    nats, _ = model.loss(inputs, inputs, model.initial(2))
    nats.backward()
    assert not embedding or model.embed.grad is not None
    assert embedding or not model.stack[0].W_x.is_contiguous()
    for name, p in model.named_parameters():
        assert p.grad is None or p.grad.stride() == p.stride(), name
