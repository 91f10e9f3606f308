"""Counts of all n-grams of a text: a trie in sorted arrays, built without a loop over tokens.

The text is read as a model reads it, with token 0 before the first (`elman.data.batches`). An n-gram is identified by
its rank among those of its length, in the order of (rank of its first n-1 tokens, last token):

    key_n = rank_{n-1} * V + last token        rank_n = position of key_n among the sorted distinct keys

so the continuations of a context are neighbours, and every length takes one pass over the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from elman.data.batches import START, Ids, blocks, token_counts
from elman.data.tokens import unsigned
from elman.environment import memory
from elman.errors import ConfigError, DataError

Int64Array = npt.NDArray[np.int64]
BITS = 2**30  # possible keys up to which a bitmap ranks them, with a byte each for a moment; above they are sorted
BLOCK = 2**17  # n-grams at a time, so that intermediate arrays stay in the processor's cache
UNREAD = -2  # a context that begins before the first token
BYTES = 40  # of memory per n-gram while a text is counted


@dataclass(frozen=True, eq=False)
class Counts:
    """The counts of all n-grams of a text up to a length; made by `Counts.of`.

    Example:
        >>> counts = Counts.of(np.array([1, 2, 1, 2, 1, 3], np.uint8), size=4, order=2)
        >>> counts.times[0].tolist()  # of each token
        [0, 3, 2, 1]
        >>> counts.grams(2).tolist(), counts.times[1].tolist()  # the pair 0, 1 is at the beginning
        ([[0, 1], [1, 2], [1, 3], [2, 1]], [1, 2, 1, 2])
    """

    size: int
    """V, the number of different tokens."""
    keys: tuple[Int64Array, ...]
    """keys[n-1]: the sorted keys of the n-grams of that length; single tokens are 0 to V-1, occurring or not."""
    times: tuple[Int64Array, ...]
    """times[n-1]: how often each of them occurs."""
    suffixes: tuple[npt.NDArray[np.integer], ...]
    """suffixes[n-1]: the rank of each n-gram without its first token, an (n-1)-gram; 0 for single tokens."""

    @classmethod
    def of(cls, ids: Ids, size: int, order: int, *, bos: bool = True) -> "Counts":
        """Count the n-grams of 1 to `order` tokens of a text.

        Args:
            ids: the text, (N,) token ids.
            size: V, the size of the vocabulary.
            order: the length of the longest n-grams, 1 or more.
            bos: put token 0 before the text as its beginning, as a model reads it.

        Returns:
            The counts.

        Raises:
            ConfigError: an order under 1, or one that needs more memory than this machine has.
            DataError: fewer tokens than `order`.
        """
        check_order(len(ids), size, order)
        text = np.concatenate((np.array([START] * bos, ids.dtype), ids))
        keys, times, suffixes = [np.arange(size)], [token_counts(ids, size)], [np.zeros(size, np.int32)]
        rank: npt.NDArray[np.integer] = text
        for n in range(2, order + 1):
            key, count, longer = _ranked(rank[:-1], text[n - 1 :], size, len(keys[-1]))
            suffix = np.empty(len(key), np.int32)
            suffix[longer] = rank[1:]  # the shorter n-gram that ends at the same token
            rank = longer
            keys.append(key)
            times.append(count)
            suffixes.append(suffix)
        return cls(size, tuple(keys), tuple(times), tuple(suffixes))

    @property
    def order(self) -> int:
        """The length of the longest n-grams."""
        return len(self.keys)

    def upto(self, order: int) -> "Counts":
        """The counts of n-grams of at most `order` tokens."""
        return Counts(self.size, self.keys[:order], self.times[:order], self.suffixes[:order])

    def find(self, n: int, context: Int64Array, token: npt.NDArray[np.integer]) -> Int64Array:
        """Look n-grams up.

        Args:
            n: their length.
            context: ranks of their first n-1 tokens, of any shape; negative for a context that does not occur.
            token: their last tokens, of the same shape.

        Returns:
            The ranks of the n-grams; -1 where one does not occur.
        """
        if n == 1:
            return token.astype(np.int64)
        keys = self.keys[n - 1]
        wanted = context * self.size + token
        at = np.searchsorted(keys, wanted)
        found = (context >= 0) & (token >= 0) & (keys[np.minimum(at, len(keys) - 1)] == wanted)
        return np.where(found, at, -1)

    def contexts(self, tokens: npt.NDArray[np.integer]) -> list[Int64Array]:
        """Look up the contexts that end at every token.

        Args:
            tokens: (..., T) token ids; negative numbers stand before the beginning.

        Returns:
            For each length from 0 to order-1 the ranks of the contexts that end with each token, (..., T); -1 where a
            context does not occur in the text that was counted, `UNREAD` where it begins before the first token.
        """
        tokens = tokens.astype(np.int64)
        found = [np.zeros_like(tokens)]
        for n in range(1, self.order):
            before = np.full_like(tokens, UNREAD if n > 1 else 0)
            before[..., 1:] = found[-1][..., :-1]
            found.append(np.where((before == UNREAD) | (tokens < 0), UNREAD, self.find(n, before, tokens)))
        return found

    @cached_property
    def first_children(self) -> tuple[Int64Array, ...]:
        """For each length n from 0: where the (n+1)-grams that continue each context begin, and the end of the last."""
        beginnings = [np.array([0, self.size])]
        for contexts, keys in pairwise(self.keys):
            each = np.bincount(keys // self.size, minlength=len(contexts))
            beginnings.append(np.concatenate(([0], np.cumsum(each))))
        return tuple(beginnings)

    @cached_property
    def tokens(self) -> tuple[npt.NDArray[np.unsignedinteger], ...]:
        """tokens[n-1]: the last token of each n-gram of that length."""
        return tuple((keys % self.size).astype(unsigned(self.size - 1)) for keys in self.keys)

    def grams(self, n: int, ranks: Int64Array | None = None) -> Int64Array:
        """List n-grams as tokens.

        Args:
            n: their length.
            ranks: the ranks of those to list, (N,); None lists all in order of rank.

        Returns:
            Token ids, (N, n).
        """
        at = np.arange(len(self.keys[n - 1])) if ranks is None else ranks
        tokens = np.empty((len(at), n), np.int64)
        for place in range(n - 1, -1, -1):
            at, tokens[:, place] = np.divmod(self.keys[place][at], self.size)
        return tokens


def _ranked(
    contexts: npt.NDArray[np.integer], tokens: Ids, size: int, different: int
) -> tuple[Int64Array, Int64Array, npt.NDArray[np.int32]]:
    """The distinct keys context * V + token, their counts, and the rank of the key at every place."""

    def codes(block: slice) -> Int64Array:
        return contexts[block].astype(np.int64) * size + tokens[block]

    if different * size > BITS:
        keys, rank, count = np.unique(codes(slice(None)), return_inverse=True, return_counts=True)
        return keys, count, rank.astype(np.int32)
    # A bit for every possible code: the rank of a code is the number of bits set before its own.
    present = np.zeros(-(-different * size // 64) * 64, np.bool_)
    for block in blocks(len(tokens), BLOCK):
        present[codes(block)] = True
    keys = np.flatnonzero(present)
    words = np.packbits(present, bitorder="little").view(np.dtype("<u8"))
    del present
    before = np.cumsum(np.bitwise_count(words), dtype=np.int32) - np.bitwise_count(words)
    ranks = np.empty(len(tokens), np.int32)
    for block in blocks(len(tokens), BLOCK):
        code = codes(block)
        word, below = code >> 6, (np.uint64(1) << (code & 63).view(np.uint64)) - np.uint64(1)
        ranks[block] = np.bitwise_count(words[word] & below) + before[word]
    return keys, token_counts(ranks, len(keys)), ranks


def check_order(tokens: int, size: int, order: int) -> None:
    """Check that n-grams can be counted.

    Args:
        tokens: N, the length of the text.
        size: V.
        order: the length of the longest n-grams.

    Raises:
        ConfigError: an order under 1, or one that needs more memory than this machine has.
        DataError: fewer tokens than `order`.
    """
    if order < 1:
        raise ConfigError(f"order is {order}: it must be at least 1")
    if tokens < order:
        raise DataError(f"a text of {tokens:,} tokens has no n-gram of {order}: give more text, or a lower order")
    needed, there = estimate(tokens, size, order), memory()
    if needed > there:
        raise ConfigError(
            f"n-grams of up to {order} of {tokens:,} tokens may take {needed / 2**30:,.1f} GiB, and this machine "
            f"has {there / 2**30:,.1f}: lower the order, or --limit the text"
        )


def estimate(tokens: int, size: int, order: int) -> int:
    """An upper bound of the memory that counting takes: there are at most V^n distinct n-grams, and at most N.

    Args:
        tokens: N, the length of the text.
        size: V.
        order: the length of the longest n-grams.

    Returns:
        Bytes.
    """
    return BYTES * sum(min(tokens, size**n if n < 8 else tokens) for n in range(1, order + 1))


def segment_sums(values: npt.NDArray[np.floating] | Int64Array, edges: Int64Array) -> npt.NDArray[np.float64]:
    """The sums of segments of an array.

    Args:
        values: (N,).
        edges: where the segments begin, and the end of the last, (S + 1,).

    Returns:
        (S,); 0 for an empty segment.
    """
    running = np.concatenate(([0], np.cumsum(values)))
    return np.asarray(running[edges[1:]] - running[edges[:-1]], np.float64)


def validated_counts(size: int, keys: Sequence[Int64Array], times: Sequence[Int64Array]) -> Counts:
    """Rebuild counts from arrays of a file, and check them.

    Args:
        size: V.
        keys: sorted keys of the n-grams of each length from 1 (`Counts.keys`).
        times: how often each occurs.

    Returns:
        The counts.

    Raises:
        ValueError: the arrays are not the counts of any text; the message names what is wrong.
    """
    for n, (key, count) in enumerate(zip(keys, times, strict=True), 1):
        if n == 1 and not np.array_equal(key, np.arange(size)):
            raise ValueError("the single tokens are not those of the vocabulary")
        if len(key) != len(count) or (len(count) and count.min() < (n > 1)):
            raise ValueError(f"the counts of the {n}-grams are not one positive number each")
        if n > 1 and (not len(key) or key[0] < 0 or key[-1] >= len(keys[n - 2]) * size or (np.diff(key) <= 0).any()):
            raise ValueError(f"the {n}-grams are not in order, or continue what does not exist")
    suffixes: list[npt.NDArray[np.integer]] = [np.zeros(size, np.int32)]
    counts = Counts(size, tuple(keys), tuple(times), ())
    for n, key in enumerate(keys[1:], 2):
        context, token = np.divmod(key, size)
        suffixes.append(counts.find(n - 1, suffixes[-1][context].astype(np.int64), token))
        if (suffixes[-1] < 0).any():
            raise ValueError(f"one of the {n}-grams is there without its end")
    return replace(counts, suffixes=tuple(suffixes))
