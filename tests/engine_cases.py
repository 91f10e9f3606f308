"""Problems for engines: random inputs, states and weights, every gradient of them, and how far two results differ."""

from typing import NamedTuple

import torch
from torch import Tensor

from elman.cells import CELLS
from elman.engines import ENGINES, Weights, native

FOUR = {"elman", "elman-relu", "gru", "lstm"}
BUILDS = list(native.INSTRUCTIONS) or ["none"]
"""Each instruction set that the native engine was built for and runs here."""


class Size(NamedTuple):
    B: int
    T: int
    I: int  # noqa: E741 - the letter of the equations
    H: int


class Problem(NamedTuple):
    inputs: Tensor
    state: tuple[Tensor, ...]
    weights: Weights


def make(cell: str, size: Size, *, ids: bool = False, column_major: bool = False, seed: int = 0) -> Problem:
    """Random inputs, states and weights in float64, all but ids with gradients."""
    rng = torch.Generator().manual_seed(seed)
    B, T, I, H = size  # noqa: E741
    rows = len(CELLS[cell].gates) * H

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64).mul_(scale).requires_grad_()

    inputs = torch.randint(I, (B, T), generator=rng) if ids else normal(B, T, I)
    state = tuple(normal(B, H) for _ in CELLS[cell].states)
    W_x = normal(rows, I, scale=I**-0.5)
    if column_major:
        W_x = W_x.detach().t().contiguous().t().requires_grad_()
        assert min(W_x.shape) == 1 or not W_x.is_contiguous()
    return Problem(inputs, state, Weights(W_x, normal(rows, H, scale=H**-0.5), normal(rows), normal(rows)))


def cast(problem: Problem, dtype: torch.dtype) -> Problem:
    """The same problem in another precision."""

    def to(t: Tensor) -> Tensor:
        return t.detach().to(dtype).requires_grad_() if t.is_floating_point() else t

    return Problem(to(problem.inputs), tuple(map(to, problem.state)), Weights(*map(to, problem.weights)))


def run(engine: str, cell: str, problem: Problem) -> tuple[Tensor, tuple[Tensor, ...]]:
    return ENGINES[engine].run(CELLS[cell], *problem)


def leaves(cell: str, problem: Problem) -> dict[str, Tensor]:
    """The tensors whose gradients are compared, by name."""
    named = {"inputs": problem.inputs} if problem.inputs.is_floating_point() else {}
    named |= {f"{letter}0": s for letter, s in zip(CELLS[cell].states, problem.state, strict=True)}
    return named | problem.weights._asdict()


def everything(engine: str, cell: str, problem: Problem) -> dict[str, Tensor]:
    """Outputs, last state, and the gradient of every leaf for random gradients of all of these."""
    outputs, last = run(engine, cell, problem)
    results = {"outputs": outputs} | dict(zip(CELLS[cell].states, last, strict=True))
    rng = torch.Generator().manual_seed(99)
    given = [torch.randn(r.shape, generator=rng, dtype=torch.float64).to(r.dtype) for r in results.values()]
    named = leaves(cell, problem)
    gradients = torch.autograd.grad(list(results.values()), list(named.values()), given)
    results |= {f"d_{name}": g for name, g in zip(named, gradients, strict=True)}
    return {name: t.detach() for name, t in results.items()}


def distance(found: dict[str, Tensor], truth: dict[str, Tensor]) -> dict[str, float]:
    """The largest error of each result, as a share of the largest true value."""
    return {
        name: float((found[name].double() - t).abs().max() / t.abs().max().clamp_min(1e-30))
        for name, t in truth.items()
    }


def assert_near(engine: str, cell: str, single: Problem) -> None:
    truth = everything("loop", cell, cast(single, torch.float64))
    loop = distance(everything("loop", cell, single), truth)
    found = distance(everything(engine, cell, single), truth)
    ulp = torch.finfo(torch.float32).eps
    for name, far in found.items():
        assert far <= 8 * max(loop[name], ulp), f"{name}: {far:.1e} from the truth, the loop {loop[name]:.1e}"
