"""Randomness as a function of (seed, purpose, counter), so that no generator ever has to be saved.

Every random choice of a run (initial weights, order of an epoch, dropout of a step, samples) draws from its own
generator, derived from the one seed. Resuming at step k needs k and nothing else, and global state is untouched.
"""

import zlib

import numpy as np
import torch


def seed_sequence(seed: int, purpose: str, *counters: int) -> np.random.SeedSequence:
    """The seed of one random choice, independent of those of all others.

    Args:
        seed: the seed of the run, >= 0.
        purpose: what is drawn, in words.
        counters: which one of its kind, such as the epoch or the step, each >= 0.

    Returns:
        The entropy that NumPy's generators begin with.
    """
    return np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *counters])


def numpy_generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """A NumPy generator for one random choice.

    Args:
        seed: the seed of the run, >= 0.
        purpose: what is drawn, in words.
        counters: which one of its kind, such as the epoch or the step, each >= 0.

    Returns:
        A fresh generator; equal arguments give equal numbers.
    """
    return np.random.default_rng(seed_sequence(seed, purpose, *counters))


def torch_generator(seed: int, purpose: str, *counters: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A PyTorch generator for one random choice.

    Args:
        seed: the seed of the run, >= 0.
        purpose: what is drawn, in words.
        counters: which one of its kind, such as the epoch or the step, each >= 0.
        device: where the numbers are drawn; each kind of device draws other numbers.

    Returns:
        A fresh generator; equal arguments give equal numbers.
    """
    state = seed_sequence(seed, purpose, *counters).generate_state(2, np.uint32)
    return torch.Generator(device).manual_seed(int(state[0]) << 32 | int(state[1]))
