"""Random numbers as a function of seed, purpose and counters."""

import itertools

import pytest
import torch
from helpers import task, tiny

import elman
from elman.rng import numpy_generator, torch_generator

LARGE = [5 + shift for shift in (0, 1, 2**31, 2**32, 2**33, 2**40, 2**62)]


def draws(seed: int) -> dict[str, bytes]:
    """The first numbers of everything that a seed decides."""
    weights = torch.cat([p.detach().flatten() for p in elman.Recurrent(task(), hidden=4, seed=seed).parameters()])
    return {
        "numpy": numpy_generator(seed, "order of an epoch", 1).bytes(16),
        "torch": torch.rand(4, generator=torch_generator(seed, "dropout", 1)).numpy().tobytes(),
        "weights": weights.numpy().tobytes(),
        "text": "".join(elman.generate(tiny(), "ab", 60, seed=seed)).encode(),
    }


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(LARGE, 2)))
def test_seeds_that_differ_in_any_bit_give_other_numbers(one, other):
    """A seed that is cut to 32 bits gives those of another, which looks like several seeds that agree."""
    first, second = draws(one), draws(other)
    assert first == draws(one)
    assert [name for name in first if first[name] == second[name]] == []
