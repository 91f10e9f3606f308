"""From a row of tokens to batches: sequential partitions that carry the state, and random windows that do not.

A text x_1 .. x_N has N targets. The input that stands before x_1 is token 0 (`<unk>`; where a vocabulary has
none, its first symbol), so that every token is a target exactly once an epoch, the first and the last
included. A batching only says which targets stand in which row; `gather` fetches them, so counting an epoch or
resuming in the middle of one touches no token. Rows that end early are padded with targets of `IGNORE`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from elman.errors import ConfigError, DataError, no_such

Ids = npt.NDArray[np.unsignedinteger]
Integers = npt.NDArray[np.int64]
IGNORE = -1
START = 0
COUNTED_AT_ONCE = 2**20  # tokens: bincount widens what it counts to 8 bytes a token


@dataclass(frozen=True)
class Rows:
    """The targets of one batch: row i is the tokens `starts[i]` to before `stops[i]`, counted from 0."""

    starts: Integers
    stops: Integers
    fresh: bool
    """Whether the state starts anew here."""

    @cached_property
    def targets(self) -> int:
        """How many tokens are targets."""
        return int((self.stops - self.starts).sum())


def gather(ids: Ids, rows: Rows) -> tuple[Integers, Integers]:
    """Inputs and targets, (B, T) each; the inputs are the targets one token earlier (S24).

    Example:
        >>> rows = Rows(np.array([0, 3]), np.array([3, 5]), fresh=True)
        >>> for array in gather(np.array([7, 8, 9, 10, 11], np.uint8), rows):
        ...     print(array.tolist())
        [[0, 7, 8], [9, 10, 0]]
        [[7, 8, 9], [10, 11, -1]]
    """
    at = rows.starts[:, None] + np.arange(int((rows.stops - rows.starts).max()))
    real = at < rows.stops[:, None]
    at = np.minimum(at, len(ids) - 1)
    inputs = np.where(real & (at > 0), ids[at - 1], START)
    return inputs.astype(np.int64), np.where(real, ids[at].astype(np.int64), IGNORE)


def sequential(n: int, batch: int, window: int, rng: np.random.Generator) -> Iterator[Rows]:
    """B streams side by side: row i of a batch goes on where row i of the one before stopped (S27, S63).

    The n tokens are cut into B streams whose lengths differ by at most one. Windows have T steps, but the first
    is drawn from T/2..T so that the cuts move from epoch to epoch, and a last one under T/2 joins its neighbour.
    """
    edges = np.arange(batch + 1) * n // batch
    longest = int(np.diff(edges).max())
    cuts = list(range(int(rng.integers(-(-window // 2), window + 1)), longest, window))
    if cuts and longest - cuts[-1] < window / 2:
        cuts.pop()
    for start, stop in zip([0, *cuts], [*cuts, longest], strict=True):
        ends = np.minimum(edges[:-1] + stop, edges[1:])
        yield Rows(np.minimum(edges[:-1] + start, ends), ends, fresh=start == 0)


def random(n: int, batch: int, window: int, rng: np.random.Generator) -> Iterator[Rows]:
    """Windows of T tokens in random order, each from a fresh state (S26), cut at a random offset every epoch.

    What the offset leaves at either end is a shorter window, and the windows are dealt evenly to the batches.
    """
    edges = np.unique(np.arange(int(rng.integers(window)) - window, n + window, window).clip(0, n))
    order = rng.permutation(len(edges) - 1)
    batches = -(-len(order) // batch)
    for i in range(batches):
        chosen = order[len(order) * i // batches : len(order) * (i + 1) // batches]
        yield Rows(edges[chosen], edges[chosen + 1], fresh=True)


def reference_sequential(n: int, batch: int, window: int, rng: np.random.Generator) -> Iterator[Rows]:
    """The textbook's sequential partitions, tails dropped (`d2l.seq_data_iter_sequential`)."""
    yield from reference_sequential_at(n, batch, window, int(rng.integers(window)))


def reference_sequential_at(n: int, batch: int, window: int, offset: int) -> Iterator[Rows]:
    """The same from a given offset: for 0..34, B = 2, T = 5 and offset 1 the exact tensors of the book."""
    length = (n - offset - 1) // batch
    first = offset + 1 + np.arange(batch) * length
    for start in range(0, length // window * window, window):
        yield Rows(first + start, first + start + window, fresh=start == 0)


def reference_reset(n: int, batch: int, window: int, rng: np.random.Generator) -> Iterator[Rows]:
    """What the textbook's code does where it says random: sequential partitions, each from a fresh state."""
    for rows in reference_sequential(n, batch, window, rng):
        yield Rows(rows.starts, rows.stops, fresh=True)


def reference_random(n: int, batch: int, window: int, rng: np.random.Generator) -> Iterator[Rows]:
    """The textbook's random windows, the last incomplete batch dropped (`d2l.seq_data_iter_random`)."""
    offset = int(rng.integers(window))
    yield from reference_random_at(batch, window, offset, rng.permutation((n - offset - 1) // window))


def reference_random_at(batch: int, window: int, offset: int, order: Integers) -> Iterator[Rows]:
    """The same from a given offset and order of the windows."""
    for first in range(0, len(order) // batch * batch, batch):
        starts = offset + 1 + order[first : first + batch] * window
        yield Rows(starts, starts + window, fresh=True)


Batching = Callable[[int, int, int, np.random.Generator], Iterator[Rows]]
BATCHINGS: dict[str, Batching] = {
    "sequential": sequential,
    "random": random,
    "reference-sequential": reference_sequential,
    "reference-random": reference_random,
    "reference-reset": reference_reset,
}


@dataclass(frozen=True)
class Coverage:
    """What one epoch trains on."""

    batches: int
    targets: int
    tokens: int

    def __str__(self) -> str:
        share = self.targets / self.tokens
        return f"{self.targets:,} of {self.tokens:,} tokens ({share:.1%}) in {self.batches:,} batches"


def check_length(name: str, n: int, batch: int, window: int) -> None:
    """Refuse a text that is shorter than one batch.

    Raises:
        ConfigError: no such batching.
        DataError: the text is shorter than one batch.
    """
    if name not in BATCHINGS:
        raise ConfigError(no_such("batching", name, BATCHINGS))
    need = batch * window + (window if name.startswith("reference") else 0)
    if n < need:
        raise DataError(
            f"the training text has {n:,} tokens, fewer than the {need:,} of one batch of {batch} rows x "
            f"{window} steps: give more text, or lower --batch or --window"
        )


def coverage(name: str, n: int, batch: int, window: int, rng: np.random.Generator) -> Coverage:
    """How many tokens are targets in an epoch, counted on the rows of its batches."""
    check_length(name, n, batch, window)
    sizes = [rows.targets for rows in BATCHINGS[name](n, batch, window, rng)]
    return Coverage(len(sizes), sum(sizes), n)


def token_counts(ids: npt.NDArray[np.integer], size: int) -> npt.NDArray[np.int64]:
    """How often each of `size` tokens occurs."""
    total = np.zeros(size, np.int64)
    for block in blocks(len(ids), max(COUNTED_AT_ONCE, size)):
        total += np.bincount(ids[block], minlength=size)
    return total


def blocks(length: int, most: int) -> Iterator[slice]:
    """Slices of at most so many that cover 0 to length - 1."""
    return (slice(start, min(start + most, length)) for start in range(0, length, most))
