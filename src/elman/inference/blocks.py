"""Sums of a text's cost over contiguous blocks of it, the same for every model, for tests of significance."""

from bisect import bisect_left
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from elman.data.corpus import Split
from elman.data.segmentation import Segmentation
from elman.data.tokens import Level, spans
from elman.inference.evaluation import ScoredBatch
from elman.inference.lossless import other_bits_by_token
from elman.models.task import TextTask

MOST = 16
"""Blocks of a long text."""
SMALLEST = 128
"""Tokens of a block, or more."""
FEWEST = 4
"""Blocks below which nothing is tested."""

Edges = npt.NDArray[np.int64]


def block_count(units: int, smallest: int = SMALLEST) -> int:
    """How many blocks a text is cut into; 0 if it is too short for a test.

    Args:
        units: its length in tokens.
        smallest: the least length of a block.

    Example:
        >>> [block_count(n) for n in (511, 512, 1000, 10**6)]
        [0, 4, 7, 16]
    """
    count = min(MOST, units // smallest)
    return count if count >= FEWEST else 0


def even_edges(units: int, count: int) -> Edges:
    """Where each of `count` blocks of equal length begins, and the end, (count + 1,); count 0: no block."""
    return np.arange(count + 1) * units // max(count, 1)


def text_edges(text: str, level: Level, count: int, segmentation: Segmentation = "uax29") -> Edges:
    """The first token of each of `count` blocks of equally many characters, and the end, (count + 1,).

    Tokens of different levels then have edges at the same places of the text, within one token.

    Args:
        text: what is scored, after its normalization.
        level: what a token is.
        count: how many blocks.
        segmentation: the rules of word boundaries, at level word.

    Example:
        >>> text_edges("ab äö", "char", 2).tolist(), text_edges("ab äö", "byte", 2).tolist()
        ([0, 2, 5], [0, 2, 7])
        >>> text_edges("ab äö", "word", 2).tolist()
        [0, 1, 2]
    """
    at = even_edges(len(text), count).tolist()
    if level == "char":
        return np.array(at)
    if level == "byte":
        return np.cumsum([0, *(len(text[a:b].encode()) for a, b in pairwise(at))])
    starts = [start for start, _ in spans(text, segmentation)]
    return np.array([*(bisect_left(starts, place) for place in at[:-1]), len(starts)])


class BlockSums:
    """Adds up the nats of scored tokens block by block.

    Args:
        edges: the first token of each block in the order of the text, and the end, (Q + 1,).
        reverse: whether the model reads the text from its end.
    """

    def __init__(self, edges: Edges, *, reverse: bool = False) -> None:
        self.edges, self.reverse = edges, reverse
        self.sums = np.zeros(len(edges) - 1)
        """Nats of each block, (Q,)."""

    def add(self, places: npt.NDArray[np.int64], nats: npt.NDArray[np.float64]) -> None:
        """Add costs to the blocks that they belong to.

        Args:
            places: (n,) the place of each token in the order in which the model reads.
            nats: (n,) what each costs.
        """
        if not len(self.sums):
            return
        at = self.edges[-1] - 1 - places if self.reverse else places
        block = np.searchsorted(self.edges, at, side="right") - 1
        self.sums += np.bincount(block, nats, len(self.sums))

    def collect(self, batch: ScoredBatch) -> None:
        """Add the tokens of a batch, for `evaluate(..., collect=)`."""
        at = batch.rows.starts[:, None] + np.arange(batch.nats.shape[1])
        real = at < batch.rows.stops[:, None]
        self.add(at[real], batch.nats.numpy(force=True)[real])


def other_blocks(part: Split, task: TextTask, edges: Edges) -> npt.NDArray[np.float64]:
    """Bits of each block that are not in the tokens, (Q,): unknown symbols, and white space between words.

    Args:
        part: in the order in which the model reads.
        task: the vocabulary of its ids, and that order.
        edges: of the blocks.
    """
    blocks = BlockSums(edges, reverse=task.reverse)
    if len(blocks.sums):
        blocks.add(np.arange(len(part.ids)), other_bits_by_token(part, task.vocab))
    return blocks.sums
