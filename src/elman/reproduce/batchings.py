"""The batches of Zhang et al. 2021 (Dive into Deep Learning, edition 0.17, section 8.3) as its program makes them.

Every row has exactly T steps, the tokens before a random offset and the incomplete rest are dropped, and the first
token of the text is never a target. Importing `elman.reproduce` registers them.
"""

from collections.abc import Iterator

import numpy as np

from elman.data.batches import Batching, Integers, Rows, even_windows


class ReferenceSequential(Batching):
    """Sequential partitions from an offset of 0 to T-1, tails dropped (`d2l.seq_data_iter_sequential`)."""

    name, fresh_state = "reference-sequential", False

    @staticmethod
    def rows(n: int, batch: int, window: int, rng: np.random.Generator) -> Iterator[Rows]:
        """The batches of one epoch."""
        return even_windows(n, batch, window, int(rng.integers(window)))

    @staticmethod
    def starts(n: int, batch: int, window: int) -> Integers:
        """One place for each offset."""
        return (np.arange(batch)[:, None] * (n // batch) + 1 + np.arange(window)).ravel()

    @staticmethod
    def shortest(batch: int, window: int) -> int:
        """A batch after the largest offset."""
        return batch * window + window


class ReferenceReset(Batching):
    """The sequential partitions, but each batch from the initial state: what the program does where it says random.

    Its flag for random windows resets the state and does not reach the iterator.
    """

    name, fresh_state = "reference-reset", True

    @staticmethod
    def rows(n: int, batch: int, window: int, rng: np.random.Generator) -> Iterator[Rows]:
        """The batches of one epoch."""
        for rows in ReferenceSequential.rows(n, batch, window, rng):
            yield Rows(rows.starts, rows.stops, fresh=True)

    @staticmethod
    def shortest(batch: int, window: int) -> int:
        """A batch after the largest offset."""
        return ReferenceSequential.shortest(batch, window)


class ReferenceRandom(Batching):
    """Random windows from an offset of 0 to T-1, the last incomplete batch dropped (`d2l.seq_data_iter_random`)."""

    name, fresh_state = "reference-random", True

    @staticmethod
    def rows(n: int, batch: int, window: int, rng: np.random.Generator) -> Iterator[Rows]:
        """The batches of one epoch."""
        offset = int(rng.integers(window))
        return shuffled_windows(batch, window, offset, rng.permutation((n - offset - 1) // window))

    @staticmethod
    def shortest(batch: int, window: int) -> int:
        """A batch after the largest offset."""
        return ReferenceSequential.shortest(batch, window)


def shuffled_windows(batch: int, window: int, offset: int, order: Integers) -> Iterator[Rows]:
    """Windows in a given order, each from the initial state; an incomplete last batch is dropped.

    Args:
        batch: rows of a batch.
        window: steps of every window, T.
        offset: tokens that are skipped at the beginning; the token after them is the first input.
        order: the numbers of the windows, (N,): window k has the targets offset + 1 + k T to offset + (k + 1) T.

    Returns:
        The targets of each batch.
    """
    for first in range(0, len(order) // batch * batch, batch):
        starts = offset + 1 + order[first : first + batch] * window
        yield Rows(starts, starts + window, fresh=True)
