"""The compiled engine's products and cross-entropy, against float64: any sizes, layouts and numbers of threads."""

import pytest
import torch
import torch.nn.functional as F
from engine_cases import BUILDS
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.cells import CELLS
from elman.engines import Weights, native
from elman.engines.native import Native, product

pytestmark = pytest.mark.skipif(not native.INSTRUCTIONS, reason="elman was built without a compiler")
SIDES = st.sampled_from(
    [1, 2, 3, 5, 6, 7, 8, 13, 16, 17, 31, 32, 33, 47, 64, 100, 191, 192, 193, 255, 256, 257, 300, 513]
)


def on(build, function):
    """What the function makes of that instruction set."""
    before, native.INSTRUCTIONS = native.INSTRUCTIONS, [build]
    try:
        return function()
    finally:
        native.INSTRUCTIONS = before


def laid_out(rows, columns, layout, rng):
    """Random numbers, in rows, in columns, or as every other column of a wider matrix, inside memory full of NaN."""
    wide = torch.full((rows + 2, 2 * columns + 2), float("nan"))
    inner = {"wide": wide[1:-1, 1 : 1 + columns], "gaps": wide[1:-1, 1:-1:2]}.get(layout)
    if layout == "columns":
        inner = torch.full((columns + 2, rows + 2), float("nan"))[1:-1, 1:-1].t()
    return inner.copy_(torch.randn(rows, columns, generator=rng))


@pytest.mark.parametrize("build", BUILDS)
@settings(max_examples=60, deadline=None)
@given(
    M=SIDES, N=SIDES, K=SIDES, of_a=st.sampled_from(["wide", "columns", "gaps"]),
    of_b=st.sampled_from(["wide", "columns", "gaps"]), how=st.sampled_from(["plain", "bias", "add"]),
    scale=st.sampled_from([1.0, -0.5]), threads=st.sampled_from([1, 2, 3]),
)  # fmt: skip
def test_a_product_of_any_size_and_layout(build, M, N, K, of_a, of_b, how, scale, threads):
    rng = torch.Generator().manual_seed(M * N + K)
    A, B = laid_out(M, K, of_a, rng), laid_out(K, N, of_b, rng)
    frame = torch.full((M + 2, N + 3), 7.0)
    C, bias = frame[1:-1, 1 : 1 + N], torch.randn(N, generator=rng)
    C.copy_(torch.randn(M, N, generator=rng)) if how == "add" else C.fill_(float("nan"))
    start = {"plain": 0.0, "bias": bias.double(), "add": C.double()}[how]
    expected = scale * (A.double() @ B.double()) + start
    count = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        on(build, lambda: product(A, B, C, bias=bias if how == "bias" else None, scale=scale, add=how == "add"))
    finally:
        torch.set_num_threads(count)
    torch.testing.assert_close(C.double(), expected, rtol=1e-5, atol=1e-5 * K**0.5)
    frame[1:-1, 1 : 1 + N] = 7.0
    assert (frame == 7.0).all()  # nothing beside it was written


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize(("M", "N", "K"), [(50, 20, 700), (13, 130, 300), (193, 200, 40)])
def test_threads_change_no_bit_of_a_product(build, M, N, K):
    rng = torch.Generator().manual_seed(0)
    A, B = torch.randn(K, M, generator=rng).t(), torch.randn(K, N, generator=rng)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            found.append(on(build, lambda: product(A, B)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found[1:])


def costs(function, rows, size, hidden, *, dtype, hot=1.0):
    """Nats and the gradients of x, W and b, with every third target ignored."""
    rng = torch.Generator().manual_seed(rows + size)
    x = torch.randn(rows, hidden, generator=rng).mul(hot).to(dtype).requires_grad_()
    W = torch.randn(size, hidden, generator=rng).to(dtype).requires_grad_()
    b = torch.randn(size, generator=rng).to(dtype).requires_grad_()
    targets = torch.randint(size, (rows,), generator=rng)
    targets[2::3] = -1
    nats = function(x, W, b, targets)
    return nats.detach(), *torch.autograd.grad(nats / 3, (x, W, b))


def truly(x, W, b, targets):
    return F.cross_entropy(x @ W.t() + b, targets, ignore_index=-1, reduction="sum")


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("hot", [1.0, 30.0], ids=["", "hot"])
@pytest.mark.parametrize(("rows", "size", "hidden"), [(1, 1, 1), (7, 2, 3), (36, 28, 63), (5, 9, 100), (70, 1000, 16)])
def test_cost_and_its_gradients(build, rows, size, hidden, hot):
    expected = costs(truly, rows, size, hidden, dtype=torch.float64, hot=hot)
    single = costs(truly, rows, size, hidden, dtype=torch.float32, hot=hot)
    found = on(build, lambda: costs(Native.linear_cross_entropy, rows, size, hidden, dtype=torch.float32, hot=hot))
    for name, value, far, true in zip(("nats", "x", "W", "b"), found, single, expected, strict=True):
        largest = true.abs().max().clamp_min(1e-30)
        error, torch_error = ((v.double() - true).abs().max() / largest for v in (value, far))
        assert error <= 8 * max(torch_error, torch.finfo(torch.float32).eps), (name, error, torch_error)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_cost_that_is_no_number_is_not_hidden(build, bad):
    x, W, b = torch.ones(5, 3), torch.ones(20, 3), torch.zeros(20)
    W[11, 1] = bad
    assert not on(build, lambda: Native.linear_cross_entropy(x, W, b, torch.arange(5))).isfinite()


def test_tokens_outside_of_the_vocabulary_are_refused():
    x, W, b = torch.ones(2, 3), torch.ones(4, 3), torch.zeros(4)
    for bad in (4, -2):
        with pytest.raises(IndexError, match=f"token {bad} is not in the vocabulary of 4 tokens"):
            Native.linear_cross_entropy(x, W, b, torch.tensor([0, bad]))


@pytest.mark.parametrize("build", BUILDS)
def test_a_linear_map_and_its_gradients(build):
    rng = torch.Generator().manual_seed(3)
    leaves = [torch.randn(shape, generator=rng).requires_grad_() for shape in ((50, 9), (31, 9), (31,))]
    owed = torch.randn(50, 31, generator=rng)
    true = [t.detach().double().requires_grad_() for t in leaves]
    expected = F.linear(*true)
    found = on(build, lambda: Native.linear(*leaves))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    gradients = on(build, lambda: torch.autograd.grad(found, leaves, owed))
    for g, e in zip(gradients, torch.autograd.grad(expected, true, owed.double()), strict=True):
        torch.testing.assert_close(g.double(), e, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_ids_and_targets_of_any_integer_type(dtype):
    """Compiled code reads 64 bits a token, whatever was given."""
    x, W, b, targets = torch.randn(4, 3), torch.randn(5, 3), torch.randn(5), torch.tensor([4, 0, 2, 1])
    assert torch.equal(
        Native.linear_cross_entropy(x, W, b, targets.to(dtype)), Native.linear_cross_entropy(x, W, b, targets)
    )
    weights = Weights(torch.randn(6, 5), torch.randn(6, 6), torch.randn(6), torch.randn(6))
    state = (torch.zeros(2, 6),)
    found, expected = (
        Native.run(CELLS["elman"], targets.view(2, 2).to(kind), state, weights)[0] for kind in (dtype, torch.int64)
    )
    assert torch.equal(found, expected)
