"""The tables of compiled experts, made of the counts of `elman.models.ngram.experts`, which are the definition."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from elman.data.batches import Ids
from elman.data.vocab import Vocab
from elman.engines.native_experts import CONTEXT, CONTINUATION, ContextTokens, LevelArrays, NativeTable
from elman.models.ngram.counts import Int64Array
from elman.models.ngram.experts import FLOOR, LINE, ContextFeatures, Experts
from elman.models.ngram.smoothing import BackoffLevel

Float64Array = npt.NDArray[np.float64]


def native_table(vocab: Vocab, parts: Sequence[Ids], order: int) -> NativeTable:
    """All experts counted on a text, in flat memory.

    Args:
        vocab: as of `Experts`.
        parts: as of `Experts`.
        order: as of `Experts`.
    """
    return table_of(Experts(vocab, parts, order))


def table_of(experts: Experts) -> NativeTable:
    """The same experts in flat memory.

    Args:
        experts: that were counted.
    """
    size, counts = experts.size, experts.counts
    if counts is None:
        uniform = np.full(size, -np.log(size), np.float32)
        return NativeTable(uniform, [None] * Experts.number(experts.order))
    unigram = experts.unigram
    levels: list[LevelArrays | None] = []
    shorter = unigram
    for n in range(1, experts.order):
        if n >= counts.order:
            levels.append(None)
            continue
        contexts, tokens = np.divmod(counts.keys[n], size)
        general = shorter[counts.suffixes[n]]
        levels.append(_level(counts.first_children[n], contexts, tokens, experts.levels[n], unigram, general))
        shorter = experts.levels[n].discounted_prob + _backoff(experts.levels[n])[contexts] * general
    for k, kind in enumerate(experts.context_counts):
        if kind is None:
            levels.append(None)
            continue
        contexts = np.repeat(np.arange(len(kind.contexts)), np.diff(kind.edges))
        general = unigram[kind.tokens] if k == LINE else None
        levels.append(_level(kind.edges, contexts, kind.tokens, kind.level, unigram, general, kind.contexts))
    return NativeTable(np.log(unigram).astype(np.float32), levels)


def _level(
    edges: Int64Array,
    contexts: Int64Array,
    tokens: Int64Array,
    level: BackoffLevel,
    unigram: Float64Array,
    general: Float64Array | None,
    hashes: Int64Array | None = None,
) -> LevelArrays:
    """One expert: what it adds to the logarithm of a more general one, `general` at each continuation."""
    backoff = _backoff(level)
    found = np.zeros(len(tokens), CONTINUATION)
    found["ratio"] = level.discounted_prob / unigram[tokens]
    if general is not None:
        found["gain"] = np.log1p(level.discounted_prob / (backoff[contexts] * general))
    rows = np.zeros(len(edges), CONTEXT)
    rows["first"], rows["backoff"][:-1] = edges, backoff
    return LevelArrays(rows, tokens.astype(np.uint16), found, hashes)


def _backoff(level: BackoffLevel) -> Float64Array:
    """The backoff weights, at least `FLOOR`."""
    return np.maximum(level.backoff_weight, FLOOR)


def context_tokens(features: ContextFeatures) -> ContextTokens:
    """What tells words and lines apart, as the compiled code takes it.

    Args:
        features: of a vocabulary.
    """
    return ContextTokens(
        np.ascontiguousarray(features.letter, np.int64), features.extending.astype(np.uint8), features.newline
    )
