"""Tiny models and texts that several tests build, and what several of them check."""

import math
from typing import Any

import numpy as np
import torch

import elman
from elman.data.batches import Ids
from elman.engines import ENGINES

SYMBOLS = "abcdef"
V = len(SYMBOLS) + 1  # <unk> is token 0


def task() -> elman.TextTask:
    """The six letters a to f and `<unk>`: V = 7."""
    return elman.TextTask(elman.Vocab.chars(SYMBOLS))


def tiny(**settings: Any) -> elman.Recurrent:
    """A model of a few units whose every parameter, biases and initial state included, is not zero."""
    return shaken(elman.Recurrent(task(), **{"hidden": 5, **settings}))


def hybrid(task: elman.TextTask, ngram_experts: int = 8, **settings: Any) -> elman.Hybrid:
    """A hybrid of a recurrent network with these settings, initialised with one seed."""
    seed = settings.get("seed", 0)
    return elman.Hybrid(elman.Recurrent(task, **settings), ngram_experts=ngram_experts, seed=seed)


def copying(task: elman.TextTask, copy_window: int = 24, **settings: Any) -> elman.CopyHead:
    """A recurrent network with these settings and a copy head, initialised with one seed."""
    seed = settings.get("seed", 0)
    return elman.CopyHead(elman.Recurrent(task, **settings), copy_window=copy_window, seed=seed)


def shaken(model: Any) -> Any:
    """The model with random numbers for all of its parameters."""
    rng = torch.Generator().manual_seed(7)
    named = [(name.count("network."), name.replace("network.", ""), p) for name, p in model.named_parameters()]
    with torch.no_grad():
        for _, _, p in sorted(named, key=lambda each: ("." in each[1], -each[0])):  # as checkpoints count them
            p.normal_(0, 0.7, generator=rng)
    return model


def supported(cell: str) -> list[str]:
    """The engines that run a cell on the CPU in both precisions."""
    kind = elman.models.recurrent.CELLS[cell]
    device = torch.device("cpu")
    return [n for n, e in sorted(ENGINES.items()) if e.supports(kind, device, torch.float64)]


def tokens(n: int, seed: int = 0, size: int = V) -> Ids:
    """`n` random tokens, `<unk>` (0) not among them."""
    return np.random.default_rng(seed).integers(1, size, n).astype(np.uint8)


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_drawn_from(expected: list[float], counts: np.ndarray) -> None:
    """Nothing impossible was drawn, and chi-square is within its mean and five standard deviations."""
    n = counts.sum()
    possible = [i for i, p in enumerate(expected) if p]
    assert all(counts[i] == 0 for i, p in enumerate(expected) if not p)
    chi = sum((counts[i] - n * expected[i]) ** 2 / (n * expected[i]) for i in possible)
    freedom = len(possible) - 1
    assert chi <= freedom + 5 * math.sqrt(2 * max(freedom, 1))
