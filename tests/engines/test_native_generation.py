"""Sampling in compiled code: the loop's tokens, a float64 oracle, chunks, threads and what is not finite."""

import math

import numpy as np
import pytest
import torch
from engine_cases import BUILDS
from helpers import V, assert_drawn_from, shaken, task, tiny, tokens

import elman
from elman.engines import native, native_generate
from elman.engines.sampling import Sampling
from elman.inference.generation import _sampler_of_steps, generate, sample_tokens

pytestmark = pytest.mark.skipif(not native.INSTRUCTIONS, reason="elman was built without a compiler")
CELLS = ["elman", "elman-relu", "gru", "lstm"]
SHAPES = [{}, {"embedding": 6}, {"layers": 2}, {"layers": 3, "embedding": 5}]
SETTINGS = [
    {},
    {"temperature": 0.3},
    {"temperature": 4.0},
    {"top_k": 2},
    {"top_p": 0.6},
    {"temperature": 2.0, "top_k": 5, "top_p": 0.8},
]


@pytest.fixture(params=BUILDS, autouse=True)
def build(request, monkeypatch):
    """Each instruction set that was built and runs here."""
    monkeypatch.setattr(native, "INSTRUCTIONS", [request.param])


def model(**settings):
    """Weights as large as leave errors their size, and logits that differ."""
    m = elman.Recurrent(task(), **settings)
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, p in m.named_parameters():
            p.normal_(0, (2.0 if name in {"W_q", "embed"} else 0.5) / p.shape[-1] ** 0.5, generator=rng)
    return m


def start(m, B, seed=0):
    """Tokens to read first, and a state that differs from stream to stream."""
    rng = torch.Generator().manual_seed(seed)
    state = tuple(0.5 * torch.randn(s.shape, generator=rng) for s in m.initial(B))
    return torch.randint(V, (B,), generator=rng).numpy(), state


def sample(m, B, steps, *, seed=0, **settings):
    """The tokens, the state, and the numbers that chose them."""
    sampling = Sampling(**settings)
    u = np.random.default_rng(seed).random((steps, B)) if sampling.temperature else None
    first, state = start(m, B, seed)
    with torch.inference_mode():
        drawn, after = m.token_sampler(sampling, B)(first, state, steps, u)
    return drawn, after, u


def loop(m, B, steps, *, seed=0, **settings):
    sampling = Sampling(**settings)
    u = np.random.default_rng(seed).random((steps, B)) if sampling.temperature else None
    first, state = start(m, B, seed)
    with torch.inference_mode():
        return _sampler_of_steps(m, sampling)(first, state, steps, u)


# --- against the loop


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_greedy_tokens_are_the_loop_s(cell, shape):
    for H in (1, 7, 63, 100) + ((512,) if shape == {} else ()):
        m = model(cell=cell, hidden=H, **shape)
        for B in (1, 2, 3, 33):
            drawn, after, _ = sample(m, B, 12, temperature=0)
            expected, state = loop(m, B, 12, temperature=0)
            assert drawn.tolist() == expected.tolist(), (H, B)
            torch.testing.assert_close(after, state, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_widths_of_their_own_and_a_tied_output(cell):
    for m in (model(cell=cell, hidden=[9, 70, 3]), model(cell=cell, hidden=[20, 11], embedding=11, tied=True)):
        for B in (1, 5):
            drawn, after, _ = sample(m, B, 20, temperature=0)
            expected, state = loop(m, B, 20, temperature=0)
            assert drawn.tolist() == expected.tolist()
            torch.testing.assert_close(after, state, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("B", [1, 3])
def test_an_embedding_too_large_to_fold_in_is_read_row_by_row(B, monkeypatch):
    m = model(cell="gru", hidden=[9, 5], embedding=12)
    folded = sample(m, B, 30, temperature=0)
    monkeypatch.setattr(native_generate, "MAX_TABLE", 0)
    plain = sample(m, B, 30, temperature=0)
    assert plain[0].tolist() == folded[0].tolist()
    torch.testing.assert_close(plain[1], folded[1])


# --- against float64


def logistic(x):
    return 1 / (1 + np.exp(-x))


def oracle_step(m, token, state):
    """One stream by the equations in float64: logits and the next state, a list of rows."""
    weights = {name: p.detach().double().numpy() for name, p in m.named_parameters()}
    n, x, after = len(m.cell.states), None, []
    for depth in range(len(m.widths)):
        W_x, W_h, b_x, b_h = (weights[f"layers.{depth}.{name}"] for name in ("W_x", "W_h", "b_x", "b_h"))
        if depth == 0:
            x = weights["embed"][token] if "embed" in weights else np.eye(V)[token]
        h, *c = state[depth * n : (depth + 1) * n]
        a, u = np.split(W_x @ x + b_x, len(m.cell.gates)), np.split(W_h @ h + b_h, len(m.cell.gates))
        if m.cell.name == "gru":
            r, z = logistic(a[0] + u[0]), logistic(a[1] + u[1])
            x = (1 - z) * np.tanh(a[2] + r * u[2]) + z * h
        elif m.cell.name == "lstm":
            i, f, g, o = (p + q for p, q in zip(a, u, strict=True))
            c = [logistic(f) * c[0] + logistic(i) * np.tanh(g)]
            x = logistic(o) * np.tanh(c[0])
        else:
            x = np.tanh(a[0] + u[0]) if m.cell.name == "elman" else np.maximum(a[0] + u[0], 0)
        after += [x, *c]
    return weights.get("W_q", weights.get("embed")) @ x + weights["b_q"], after


def probabilities(logits, temperature=1.0, top_k=None, top_p=None):
    """By the definition, `<unk>` apart."""
    weight = np.exp((logits - logits.max()) / temperature)
    weight[0] = 0
    order = sorted(range(1, len(logits)), key=lambda i: (-logits[i], i))[:top_k]
    if top_p is not None:
        mass = np.cumsum(weight[order]) / weight[order].sum()
        order = order[: 1 + int((mass < top_p - 1e-12).sum())]
    kept = np.zeros_like(weight)
    kept[order] = weight[order]
    return kept / kept.sum()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_sampled_tokens_are_those_of_float64(cell, settings):
    """Fed what was drawn, the oracle draws the same from the same numbers, where no edge lies within 1e-5."""
    m = model(cell=cell, hidden=[10, 17])
    near = 0
    for B in (1, 4):
        drawn, after, u = sample(m, B, 60, **settings)
        first, state = start(m, B)
        for b in range(B):
            token, rows = int(first[b]), [s[b].double().numpy() for s in state]
            for t in range(60):
                logits, rows = oracle_step(m, token, rows)
                mass = np.cumsum(probabilities(logits, **settings))
                token = int(drawn[t, b])
                if np.abs(mass - u[t, b]).min() > 1e-5:
                    assert token == (mass > u[t, b]).argmax(), (B, t, b)
                else:
                    near += 1
            for mine, row in zip(after, rows, strict=True):
                np.testing.assert_allclose(mine[b], row, rtol=1e-4, atol=1e-5)
    assert near < 3


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_draws_follow_the_exact_probabilities(settings):
    m, n = model(cell="gru", hidden=8), 20_000
    first, state = start(m, 1)
    with torch.inference_mode():
        many = tuple(s.repeat(n, 1) for s in state)
        u = np.random.default_rng(1).random((1, n))
        drawn, _ = m.token_sampler(Sampling(**settings), n)(first.repeat(n), many, 1, u)
    logits, _ = oracle_step(m, int(first[0]), [s[0].double().numpy() for s in state])
    assert_drawn_from(probabilities(logits, **settings).tolist(), np.bincount(drawn[0], minlength=V))


# --- sampling alone: logits that do not depend on the state


def constant(logits, *, unknown=False):
    m = elman.Recurrent(
        elman.TextTask(elman.Vocab.chars("".join(map(chr, range(200, 200 + len(logits)))), unknown=unknown))
    )
    with torch.no_grad():
        m.W_q.zero_()
        m.b_q.copy_(torch.tensor(logits))
    assert m.task.size == len(logits)
    return m


DRAWS = [
    {"temperature": t, "top_k": k, "top_p": p}
    for t in (0.0, 5e-324, 1e-9, 0.7, 1.0, 50.0, 1e9, 1e308)
    for k in (None, 1, 2, 3, 1000)
    for p in (None, 5e-324, 0.3, 0.9, 1.0)
]


@pytest.mark.parametrize("size", [1, 2, 3, 8, 17, 67])
def test_every_setting_draws_as_the_definition_does(size):
    """Ties and minus infinity among the logits; the numbers include both ends."""
    logits = np.random.default_rng(size).integers(-4, 5, size).astype(np.float32)
    logits[5::7] = -np.inf
    m, n = constant(logits.tolist()), 40
    u = np.linspace(0, np.nextafter(1, 0), n)
    for settings in DRAWS:
        sampling = Sampling(**settings)
        numbers = u if settings["temperature"] else None
        with torch.inference_mode():
            token_sampler, first = m.token_sampler(sampling, n), np.zeros(n, np.int64)
            drawn, _ = token_sampler(first, m.initial(n), 1, None if numbers is None else u[None])
        expected = sampling(np.tile(logits, (n, 1)), numbers)
        edges = [] if numbers is None else np.cumsum(_p(logits, sampling))
        near = np.array([any(abs(e - x) < 1e-6 for e in edges[:-1]) for x in u], dtype=bool) & (u > 0) & (u < u[-1])
        assert drawn[0][~near].tolist() == expected[~near].tolist(), settings


def _p(logits, sampling):
    p = sampling._weights(logits[None])[0]
    return p / p.sum()


@pytest.mark.parametrize("B", [1, 6])
def test_the_narrowest_top_k_and_top_p_are_greedy(B):
    m = model(cell="lstm", hidden=20)
    greedy = sample(m, B, 50, temperature=0)[0].tolist()
    assert sample(m, B, 50, top_k=1)[0].tolist() == greedy
    assert sample(m, B, 50, top_p=1e-9)[0].tolist() == greedy
    assert sample(m, B, 50, temperature=1e-9)[0].tolist() == greedy


def test_small_probabilities_keep_their_digits():
    """A token of one in a million beside one: drawn below its share, not above."""
    m = constant([0.0, math.log(1e6)])
    share = 1 / (1 + 1e6)
    u = np.array([[share * (1 - 1e-5), share * (1 + 1e-5)]])
    with torch.inference_mode():
        drawn, _ = m.token_sampler(Sampling(), 2)(np.zeros(2, np.int64), m.initial(2), 1, u)
    assert drawn.tolist() == [[0, 1]]


def test_the_unknown_token_is_never_drawn():
    m = tiny(cell="gru", hidden=12)
    with torch.no_grad():
        m.b_q[0] = 100.0
    for settings in ({"temperature": 0}, {}, {"temperature": 1e9}, {"top_k": 100}, {"top_p": 0.999}):
        assert sample(m, 3, 100, **settings)[0].min() > 0


# --- chunks, threads, NaN


@pytest.mark.parametrize("B", [1, 3, 9])
@pytest.mark.parametrize("cell", CELLS)
def test_chunks_change_no_bit(cell, B):
    m = model(cell=cell, hidden=[70, 11])
    whole, last, u = sample(m, B, 23, top_p=0.9)
    tokens_, state = start(m, B)
    pieces, at = [], 0
    with torch.inference_mode():
        token_sampler = m.token_sampler(Sampling(top_p=0.9), B)
        for steps in (1, 2, 7, 13):
            drawn, state = token_sampler(tokens_, state, steps, u[at : at + steps])
            pieces, tokens_, at = [*pieces, drawn], drawn[-1], at + steps
    assert np.concatenate(pieces).tolist() == whole.tolist()
    assert all(torch.equal(a, b) for a, b in zip(state, last, strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_threads_change_no_bit_and_the_state_that_is_passed_in_stays(cell):
    m = model(cell=cell, hidden=[70, 11])
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(sample(m, 33, 15))
    for drawn, state, _ in found[1:]:
        assert drawn.tolist() == found[0][0].tolist()
        assert all(torch.equal(a, b) for a, b in zip(state, found[0][1], strict=True))
    first, state = start(m, 2)
    kept = tuple(s.clone() for s in state)
    with torch.inference_mode():
        m.token_sampler(Sampling(0), 2)(first, state, 5, None)
    assert all(torch.equal(a, b) for a, b in zip(state, kept, strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["W_q", "b_q", "layers.0.W_h"])
def test_weights_that_are_not_finite_give_tokens_all_the_same(where, bad):
    m = model(cell="gru", hidden=9)
    with torch.no_grad():
        dict(m.named_parameters())[where].view(-1)[1::3] = bad
    for settings in ({"temperature": 0}, *SETTINGS):
        for B in (1, 4):
            drawn = sample(m, B, 10, **settings)[0]
            assert drawn.min() >= 0
            assert drawn.max() < V


# --- who has a sampler


def test_only_the_native_engine_has_a_sampler():
    assert tiny(cell="gru").token_sampler(Sampling(), 1) is not None
    assert tiny(cell="gru", engine="native").token_sampler(Sampling(), 1) is not None
    for m in (tiny(cell="gru", engine="loop"), tiny(cell="gru", engine="bptt"), tiny(cell="gru").double()):
        assert m.token_sampler(Sampling(), 1) is None
    assert elman.MLP(task()).token_sampler(Sampling(), 1) is None


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"temperature": 1.0}, {"top_p": 0.7, "top_k": 4}], ids=str)
def test_a_text_is_the_same_from_any_engine(settings):
    one, other = (shaken(elman.Recurrent(task(), hidden=12, engine=e)) for e in ("auto", "loop"))
    assert "".join(generate(one, "ab", 300, **settings)) == "".join(generate(other, "ab", 300, **settings))
    texts = [generate(m, "fade", 90, samples=5, seed=2, **settings) for m in (one, other)]
    assert texts[0] == texts[1]


def test_how_many_tokens_are_drawn_at_a_time_does_not_show(monkeypatch):
    m = model(cell="lstm", hidden=30)
    expected = [t.tolist() for t in sample_tokens(m, tokens(5), count=300, sampling=Sampling(), samples=3)]
    for name, value in (("CHUNK", 7), ("QUICK", -1.0), ("TOKENS_AT_ONCE", 1)):
        monkeypatch.setattr(f"elman.inference.generation.{name}", value)
        assert [t.tolist() for t in sample_tokens(m, tokens(5), count=300, sampling=Sampling(), samples=3)] == expected
