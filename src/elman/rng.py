"""Randomness as a function of (seed, purpose, counter), so that no generator ever has to be saved.

Every random choice of a run (initial weights, order of an epoch, dropout of a step, samples) draws from its own
generator, derived from the one seed. Resuming at step k needs k and nothing else, and global state is untouched.
"""

import zlib

import numpy as np
import torch


def entropy(seed: int, purpose: str, *counters: int) -> np.random.SeedSequence:
    """The root of one stream of random numbers."""
    return np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *counters])


def numpy_generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """A NumPy generator for one purpose."""
    return np.random.default_rng(entropy(seed, purpose, *counters))


def torch_generator(seed: int, purpose: str, *counters: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A PyTorch generator for one purpose."""
    state = entropy(seed, purpose, *counters).generate_state(2, np.uint32)
    return torch.Generator(device).manual_seed(int(state[0]) << 32 | int(state[1]))
