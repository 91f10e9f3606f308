"""Products of bfloat16 numbers: what a loop in float64 makes that rounds the same operands, and nothing else."""

import os
import subprocess
import sys

import pytest
import torch
from command import ENGLISH
from engine_cases import BUILDS, FOUR, Size, cast, leaves, make
from torch.autograd.function import Function

from elman.cells import CELLS
from elman.engines import ENGINES, choose, native
from elman.engines.native import NativeBfloat16, product
from elman.errors import ConfigError

CPU = torch.device("cpu")
built = pytest.mark.skipif(not native.INSTRUCTIONS, reason="elman was built without a compiler")


@pytest.fixture(params=BUILDS)
def build(request, monkeypatch):
    """Each instruction set that was built and runs here; those without bfloat16 go through it step by step."""
    monkeypatch.setattr(native, "INSTRUCTIONS", [request.param])
    monkeypatch.setattr(native, "BFLOAT16", [request.param])
    return request.param


def rounded(t):
    return t.float().bfloat16().double()


class Rounding(Function):
    """A B of rounded operands, whose gradients are products of rounded operands as well: autocast's meaning."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(rounded(a), rounded(b))
        return rounded(a) @ rounded(b)

    @staticmethod
    def backward(ctx, d):
        a, b = ctx.saved_tensors
        return rounded(d) @ b.t(), a.t() @ rounded(d)


def by_hand(cell, problem):
    """The equations in float64 over rounded operands."""
    inputs, state, w = problem
    outputs = []
    for t in range(inputs.shape[1]):
        x = inputs[:, t]
        projected = Rounding.apply(x, w.W_x.t()) + w.b_x if x.is_floating_point() else (w.W_x.t() + w.b_x)[x]
        state = CELLS[cell].step(projected, Rounding.apply(state[0], w.W_h.t()) + w.b_h, *state)
        outputs.append(state[0])
    return torch.stack(outputs, 1), state


def results(function, cell, problem):
    outputs, last = function(cell, problem)
    rng = torch.Generator().manual_seed(7)
    made = [outputs, *last]
    owed = [torch.randn(r.shape, generator=rng).to(r.dtype) for r in made]
    named = leaves(cell, problem)
    return [r.detach() for r in made], torch.autograd.grad(made, list(named.values()), owed)


def distances(cell, size, *, ids):
    """Errors of each result as shares of its largest value: of bfloat16 against the loop by hand, and of that loop
    against one that rounds nothing."""
    single = cast(make(cell, size, ids=ids), torch.float32)
    double = cast(single, torch.float64)
    found = results(lambda c, p: NativeBfloat16.run(CELLS[c], *p), cell, single)
    expected = results(by_hand, cell, double)
    exact = results(lambda c, p: ENGINES["loop"].run(CELLS[c], *p), cell, double)

    def far(a, b):
        pairs = zip([*a[0], *a[1]], [*b[0], *b[1]], strict=True)
        return [(x.double() - y).abs() / y.abs().max().clamp_min(1e-30) for x, y in pairs]

    return far(found, expected), far(expected, exact)


@built
@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("ids", [False, True], ids=["features", "ids"])
@pytest.mark.parametrize("cell", sorted(FOUR))
def test_one_step_is_what_rounding_by_hand_gives(cell, ids):
    """All but single gradients that lie so near the middle of two bfloat16 numbers that they fall to the other."""
    for size in (Size(1, 1, 3, 1), Size(3, 1, 5, 7), Size(33, 1, 6, 63), Size(5, 1, 4, 100)):
        found, effect = distances(cell, size, ids=ids)
        assert max(float(d.median()) for d in found) < 2e-6
        assert max(float(d.max()) for d in found) < 2**-8
        assert size.H == 1 or max(float(d.max()) for d in effect) > 1e-4


@built
@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("ids", [False, True], ids=["features", "ids"])
@pytest.mark.parametrize("cell", sorted(FOUR))
def test_many_steps_stay_nearer_to_it_than_the_rounding_itself(cell, ids):
    """A state that falls to the other side is read by all later steps."""
    for size in (Size(3, 36, 5, 7), Size(33, 36, 6, 63)):
        found, effect = distances(cell, size, ids=ids)
        for ours, rounding in zip(found, effect, strict=True):
            assert float(ours.mean()) < 0.5 * float(rounding.mean()) + 1e-7


@built
@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize(("M", "N", "K"), [(1, 1, 1), (7, 17, 3), (50, 20, 513), (200, 33, 1100)])
def test_a_product_rounds_its_operands_to_even(M, N, K, layout):
    rng = torch.Generator().manual_seed(K)
    A, B = torch.randn(M, K, generator=rng), torch.randn(K, N, generator=rng)
    A[0, 0], B[0, 0] = 1 + 2**-8, 1 + 3 * 2**-8  # half-way: to 1, and to 1 + 2^-6
    if layout == "columns":
        A, B = A.t().contiguous().t(), B.t().contiguous().t()
    found = product(A, B, bfloat16=True)
    torch.testing.assert_close(found.double(), rounded(A) @ rounded(B), rtol=1e-5, atol=1e-5 * K**0.5)


@built
@pytest.mark.usefixtures("build")
def test_numbers_that_are_not_finite_stay_so():
    for bad in (float("nan"), float("inf"), -float("inf")):
        A = torch.ones(3, 5)
        A[1, 4] = bad
        found = product(A, torch.ones(5, 9), bfloat16=True)
        torch.testing.assert_close(found, A @ torch.ones(5, 9), equal_nan=True)
    nan = torch.tensor([0x7F80_0001], dtype=torch.int32).view(torch.float32)  # whose upper half alone is infinity
    assert product(nan[:, None], torch.ones(1, 1), bfloat16=True).isnan()


def test_a_processor_without_it_is_told_what_it_takes(monkeypatch):
    monkeypatch.setattr(native, "BFLOAT16", [])
    with pytest.raises(ConfigError, match=r"native-bfloat16.*AVX512_BF16.*ELMAN_INSTRUCTIONS"):
        choose("native-bfloat16", CELLS["gru"], CPU, torch.float32)


@built
@pytest.mark.usefixtures("build")
def test_auto_never_chooses_it():
    assert choose("auto", CELLS["gru"], CPU, torch.float32).name == "native"
    assert choose("native-bfloat16", CELLS["gru"], CPU, torch.float32) is NativeBfloat16


def test_the_instruction_set_can_be_forced():
    usable = list(native.INSTRUCTIONS)
    assert native._instructions("") == (native.MODULE.instruction_sets() if native.MODULE else [])
    for name in usable:
        assert native._instructions(name) == [name]
    with pytest.raises(ConfigError, match="ELMAN_INSTRUCTIONS=sve: this processor and this build have"):
        native._instructions("sve")


@built
def test_a_run_in_bfloat16_where_an_instruction_set_is_forced(tmp_path):
    """From the command line, in a process of its own: the variable is read when elman is imported."""
    (tmp_path / "t.txt").write_text(ENGLISH, encoding="utf-8")
    words = ["train", "t.txt", "--hidden", "4", "--steps", "2", "--device", "cpu", "--engine", "native-bfloat16"]
    words += ["--run", "r"]
    done = subprocess.run(
        [sys.executable, "-m", "elman", *words],
        cwd=tmp_path, env=os.environ | {"ELMAN_INSTRUCTIONS": native.MODULE.instruction_sets()[-1]},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "engine native-bfloat16" in done.stdout + done.stderr
