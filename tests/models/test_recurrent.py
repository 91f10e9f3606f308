"""The recurrent model: its shapes, its parameters, how they start, and what it refuses."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from helpers import V, supported, task, tiny

import elman
from elman.cells import CELLS
from elman.engines import ENGINES
from elman.errors import ConfigError
from elman.models.base import dropout
from elman.models.recurrent import affine


def letters() -> elman.TextTask:
    """The 28 symbols of the notes: a to z, space and `<unk>`."""
    return elman.TextTask(elman.Vocab.chars("abcdefghijklmnopqrstuvwxyz "))


def test_the_shapes_of_the_lecture():
    """A minibatch (2, 5) of 28 symbols through 512 units (Zhang et al. 2023, section 9.5)."""
    model = elman.Recurrent(letters(), cell="elman", hidden=512)
    state = model.initial(2)
    assert isinstance(state, tuple)
    assert [tuple(s.shape) for s in state] == [(2, 512)]
    assert not state[0].any()
    logits, after = model(torch.arange(10).reshape(2, 5), state)
    assert logits.shape == (2, 5, 28)
    assert logits.reshape(-1, 28).shape == (10, 28)
    assert len(after) == 1
    assert after[0].shape == (2, 512)


def test_the_states_of_a_stack_are_a_flat_tuple_the_lowest_layer_first():
    model = elman.Recurrent(task(), cell="lstm", hidden=[3, 4])
    _, state = model(torch.ones(2, 6, dtype=torch.long), model.initial(2))
    assert [tuple(s.shape) for s in state] == [(2, 3), (2, 3), (2, 4), (2, 4)]


@pytest.mark.parametrize("cell", CELLS)
def test_a_one_hot_input_is_an_embedding_of_the_identity(cell):
    """`embedding = V` with E = 1 and the same W_x is the same model (Zhang et al. 2023, section 9.5, exercise 1)."""
    one_hot, embedded = tiny(cell=cell), tiny(cell=cell, embedding=V)
    shared = dict(one_hot.state_dict())
    embedded.load_state_dict(shared | {"embed": torch.eye(V)})
    tokens = torch.randint(V, (3, 8), generator=torch.Generator().manual_seed(0))
    a, b = (m.double()(tokens, m.initial(3)) for m in (one_hot, embedded))
    torch.testing.assert_close(a, b)


def test_tied_the_output_map_is_the_embedding():
    model = tiny(cell="gru", embedding=5, tied=True)
    assert model.output_weight is model.embed
    assert not any(name == "W_q" for name, _ in model.named_parameters())
    logits, _ = model(torch.tensor([[1, 2]]), model.initial(1))
    logits.sum().backward()
    assert model.embed.grad.abs().sum(1).min() > 0  # rows that were not read are predicted all the same


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("settings", [{}, {"layers": 3}, {"embedding": 4}, {"embedding": 6, "tied": True}])
@pytest.mark.parametrize("learn_initial_state", [False, True])
def test_the_number_of_parameters(cell, settings, learn_initial_state):
    G, S, H = len(CELLS[cell].gates), len(CELLS[cell].states), 6
    E, layers = settings.get("embedding", 0), settings.get("layers", 1)
    expected = V * E + V + (0 if settings.get("tied") else V * H)
    for n in range(layers):
        expected += G * H * ((E or V) if n == 0 else H) + G * H * H + 2 * G * H + S * H * learn_initial_state
    model = elman.Recurrent(task(), cell=cell, hidden=6, learn_initial_state=learn_initial_state, **settings)
    assert model.parameter_count() == expected


def test_the_token_columns_lie_together_in_memory():
    assert elman.Recurrent(task(), hidden=4).stack[0].W_x.t().is_contiguous()
    assert elman.Recurrent(task(), hidden=4, embedding=3).stack[0].W_x.is_contiguous()


@pytest.mark.parametrize(
    "settings",
    [
        {"cell": "elman", "hidden": 3},
        {"cell": "lstm", "hidden": [3, 5], "dropout": 0.2, "learn_initial_state": True},
        {"cell": "gru", "hidden": [3], "embedding": 2, "input_dropout": 0.2, "recurrent_dropout": 0.4},
        {"cell": "gru", "hidden": 4, "layers": 2, "embedding": 4, "tied": True, "init": "torch"},
        {"hidden": [4, 4], "embedding": 4, "layer_norm": True, "residual": True, "mogrifier": 3},
    ],
)
def test_the_settings_build_the_same_model_again(settings):
    model = elman.Recurrent(task(), **settings)
    again = elman.Recurrent(task(), **model.settings())
    assert again.settings() == model.settings()
    assert model.settings().items() >= {k: v for k, v in settings.items() if k not in {"hidden", "layers"}}.items()
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


# --- dropout


def test_dropout_silences_its_share_and_keeps_the_mean():
    x = torch.ones(50, 40, 5)
    dropped = dropout(x, 0.3, torch.Generator().manual_seed(0))
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    share = (dropped == 0).float().mean().item()
    assert abs(share - 0.3) < 5 * math.sqrt(0.3 * 0.7 / x.numel())


def test_dropout_that_is_alike_along_a_dimension():
    x = torch.ones(7, 4, 30)
    dropped = dropout(x, 0.4, torch.Generator().manual_seed(0), shared_dim=0)
    assert (dropped == dropped[:1]).all()
    assert len(set(map(tuple, dropped[0].tolist()))) == 4  # rows of a batch differ
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.6])


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("kind", [list, tuple])
def test_a_width_for_each_of_another_number_of_layers_is_refused(layers, kind):
    for make in (partial(elman.Recurrent, task()), lambda **s: elman.build_network(task(), s)):
        assert make(hidden=kind([4, 5, 4])).widths == make(hidden=kind([4, 5, 4]), layers=3).widths == [4, 5, 4]
        with pytest.raises(ConfigError, match=rf"has 3 layers, and layers is {layers}: give only one"):
            make(hidden=kind([4, 5, 4]), layers=layers)


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_of_inputs_and_of_recurrent_weights_by_hand(layers):
    """One mask a row for all steps of its embedding, and one for each W_h for the whole window."""
    shares = {"input_dropout": 0.4, "recurrent_dropout": 0.3}
    model = tiny(hidden=20, layers=layers, embedding=6, engine="loop", **shares)
    tokens = torch.randint(4, (3, 5), generator=torch.Generator().manual_seed(1))
    found, _ = model(tokens, model.initial(3), torch.Generator().manual_seed(9))
    rng = torch.Generator().manual_seed(9)

    def mask(*shape, share):
        return torch.empty(shape).bernoulli_(1 - share, generator=rng) / (1 - share)

    x = model.embed[tokens] * mask(1, 3, 6, share=0.4).transpose(0, 1)
    for layer, start in zip(model.stack, model.initial(3), strict=True):
        weights = layer.weights()._replace(W_h=layer.W_h * mask(*layer.W_h.shape, share=0.3))
        x, _ = ENGINES["loop"].run(model.cell, x, (start,), weights)
    torch.testing.assert_close(found, x @ model.output_weight.t() + model.b_q)
    assert not torch.allclose(found, model(tokens, model.initial(3))[0])
    assert tiny(recurrent_dropout=0.1).has_dropout
    assert not tiny().has_dropout


# --- how the weights start


@pytest.mark.parametrize("init", ["elman", "reference", "torch"])
def test_the_seed_decides_the_weights_and_nothing_else_does(init):
    torch.manual_seed(0)
    a = elman.Recurrent(task(), init=init, seed=3).state_dict()
    torch.manual_seed(1)
    torch.testing.assert_close(elman.Recurrent(task(), init=init, seed=3).state_dict(), a, rtol=0, atol=0)
    assert not torch.equal(elman.Recurrent(task(), init=init, seed=4).state_dict()["W_q"], a["W_q"])


def test_making_a_model_does_not_touch_global_randomness():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    elman.Recurrent(task(), hidden=4)
    assert torch.equal(torch.rand(3), expected)


def test_without_a_seed_the_weights_are_zero():
    model = elman.Recurrent(task(), seed=None)
    assert not any(p.any() for p in model.parameters())


def spread(t: torch.Tensor, expected: float) -> bool:
    """Whether mean and standard deviation are those of N(0, expected^2), within five standard errors."""
    n = t.numel()
    return abs(t.mean().item()) < 5 * expected / n**0.5 and abs(t.std().item() / expected - 1) < 5 / (2 * n) ** 0.5


def test_the_reference_starts_small_with_biases_at_zero():
    model = elman.Recurrent(letters(), cell="elman", hidden=128, init="reference")
    layer = model.stack[0]
    assert all(spread(t, 0.01) for t in (layer.W_x, layer.W_h, model.W_q))
    assert not any(t.any() for t in (layer.b_x, layer.b_h, model.b_q, layer.start))


def test_torch_starts_uniform_within_one_over_the_root_of_h():
    model = elman.Recurrent(letters(), cell="gru", hidden=100, init="torch")
    layer = model.stack[0]
    for t in (*layer.weights(), model.W_q):
        assert t.abs().max() <= 0.1
        assert spread(t, 0.1 / 3**0.5)


def test_our_own_start_hears_its_inputs_and_rotates_its_state():
    model = elman.Recurrent(letters(), cell="lstm", hidden=64, layers=2, init="elman")
    low, high = model.stack
    assert spread(low.W_x, 1.0)
    assert spread(high.W_x, 64**-0.5)
    for gate in (*low.W_h.chunk(4), *high.W_h.chunk(4)):
        torch.testing.assert_close(gate @ gate.T, torch.eye(64), rtol=0, atol=1e-5)
    for layer in (low, high):
        i, f, g, o = layer.b_x.chunk(4)
        assert (f == 1).all()
        assert not any(t.any() for t in (i, g, o, layer.b_h))


def test_an_embedding_starts_at_scale_one_and_a_tied_one_small():
    assert spread(elman.Recurrent(letters(), hidden=64, embedding=64).embed, 1.0)
    assert spread(elman.Recurrent(letters(), hidden=64, embedding=64, tied=True).embed, 1 / 8)


# --- the arithmetic of one row


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_affine_equals_the_product(batch):
    rng = np.random.default_rng(0)
    W, b, x = (torch.from_numpy(rng.normal(size=s)) for s in ((4, 3), (4,), (batch, 3)))
    expected = [[sum(W[i, k] * x[r, k] for k in range(3)) + b[i] for i in range(4)] for r in range(batch)]
    for one in {batch == 1, False}:
        torch.testing.assert_close(affine(W, b, one=one)(x), torch.tensor(expected))


# --- refusals


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"cell": "gpt"}, "no cell 'gpt': choose one of elman, elman-relu, gru, lstm"),
        ({"init": "xavier"}, "no init 'xavier': choose one of elman, reference, torch"),
        ({"hidden": 0}, "hidden = 0: it must be greater than 0"),
        ({"hidden": []}, "0 layers"),
        ({"hidden": 4, "layers": 0}, "layers = 0: it must be greater than 0"),
        ({"hidden": [4, 4, 4], "layers": 2}, "has 3 layers, and layers is 2"),
        ({"embedding": -1}, "embedding = -1: it must be greater than or equal to 0"),
        ({"dropout": 1.0}, "dropout = 1.0: it must be less than 1"),
        ({"recurrent_dropout": -0.1}, "recurrent_dropout = -0.1: it must be greater than or equal to 0"),
        ({"input_dropout": 1.0, "embedding": 3}, "input_dropout = 1.0: it must be less than 1"),
        ({"input_dropout": 0.5}, "input_dropout needs an embedding"),
        ({"dropout": -0.1}, "dropout = -0.1: it must be greater than or equal to 0"),
        ({"hidden": 8, "tied": True}, "set embedding to 8, it is 0"),
        ({"hidden": 8, "embedding": 4, "tied": True}, "set embedding to 8, it is 4"),
        ({"hidden": 65536}, "parameters are more than elman trains"),
        ({"hidden": 10**9}, "hidden = 1000000000: it must be less than or equal to 65536"),
        ({"embedding": 10**9}, "embedding = 1000000000: it must be less than or equal to 65536"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(settings, told):
    with pytest.raises(ConfigError, match=told) as caught:
        elman.Recurrent(task(), **settings)
    assert "\n" not in str(caught.value)


def test_an_engine_that_cannot_run_the_model_is_refused_when_it_is_needed():
    model = elman.Recurrent(task(), cell="gru", engine="bptt").bfloat16()
    with pytest.raises(ConfigError, match=r"engine 'bptt' cannot run cell 'gru' on cpu in torch\.bfloat16"):
        model(torch.tensor([[1]]), model.initial(1))
    with pytest.raises(ConfigError, match="no engine 'fast'"):
        _ = elman.Recurrent(task(), engine="fast").engine


def test_half_precision_falls_to_the_loop_under_auto():
    model = elman.Recurrent(task(), cell="gru", hidden=4).bfloat16()
    assert model.engine.name == "loop"
    logits, _ = model(torch.tensor([[1, 2]]), model.initial(1))
    assert logits.dtype == torch.bfloat16


def test_every_engine_named_is_the_one_used():
    for cell in CELLS:
        for name in supported(cell):
            assert elman.Recurrent(task(), cell=cell, engine=name).engine.name == name
