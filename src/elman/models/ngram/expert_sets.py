"""Experts counted on a text and on the complements of its folds, and their weighted sum: by numpy, or compiled.

    sum_k a_t,k log p_t,k        p: of the table that is chosen for place t, (V,)

The tables of a set are those of the whole text, number 0, then those of the folds.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Final, Generic, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from elman.data.batches import IGNORE, Ids, Integers
from elman.data.vocab import Vocab
from elman.engines.base import ExpertWeights, StreamExperts, widened
from elman.engines.native_experts import LARGEST as COMPILED_LARGEST
from elman.engines.native_experts import (
    ContextTokens,
    ExpertSum,
    NativeTable,
    add_experts,
    expert_cross_entropy,
    find_contexts,
    is_compiled,
)
from elman.errors import ConfigError
from elman.models.base import Evidence
from elman.models.ngram.compiled import context_tokens, table_of
from elman.models.ngram.counts import Int64Array
from elman.models.ngram.experts import LARGEST, ContextFeatures, Experts, mixed_experts

Table = TypeVar("Table")
COMPILED: Final = "compiled experts"
"""What a compressed file says of the model that wrote it."""


class ExpertSet(ABC, Generic[Table]):
    """All tables of one text: each of its folds is predicted by the counts of the others.

    Otherwise a network would learn to rely on experts that have seen the very tokens they predict (stacking; Wolpert
    1992).

    Args:
        vocab: the vocabulary of the text.
        order: n, the length of the longest n-grams.
        ids: the text, (N,) token ids.
    """

    def __init__(self, vocab: Vocab, order: int, ids: Ids) -> None:
        self.vocab, self.order, self.ids = vocab, order, ids
        self.edges = np.zeros(1, np.int64)
        self.tables = [self.count([ids])]

    @abstractmethod
    def count(self, parts: Sequence[Ids]) -> Table:
        """A table of pieces of a text that are not neighbours."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """The memory of the table of the whole text."""

    @abstractmethod
    def find(
        self, inputs: Integers, read: Integers, memory: Int64Array, chosen: Int64Array | None
    ) -> tuple[Evidence, Int64Array]:
        """What `add` needs of each place, and the next state of words and lines.

        Args:
            inputs: token ids, (B, T).
            read: the n-1 tokens before them, (B, n-1); -1 where nothing was read.
            memory: the state of words and lines, (B, MEMORY).
            chosen: the number of the table that predicts after each input, (B, T); None: that of the whole text.

        Returns:
            Tensors (B, T, ...), the last of them the backoff weights (B, T, K); the state.
        """

    @abstractmethod
    def add(self, logits: Tensor, weights: Tensor, evidence: Evidence) -> Tensor:
        """Logits with the weighted log-probabilities, exact but for a constant of each place.

        Args:
            logits: (B, T, V).
            weights: of the experts, (B, T, K).
            evidence: of the same places.
        """

    def of_streams(self, weights: ExpertWeights) -> StreamExperts | None:  # noqa: ARG002 - for the compiled one
        """What compiled sampling needs; None: there is none.

        Args:
            weights: the map to those of the experts.
        """
        return None

    def cross_entropy(
        self, features: Tensor, W: Tensor, b: Tensor, weights: ExpertWeights, evidence: Evidence, targets: Tensor
    ) -> Tensor:
        """Nats of targets under softmax(W h + b + the sum), added up.

        Args:
            features: h, (B, T, H).
            W: (V, H).
            b: (V,).
            weights: the map to those of the experts.
            evidence: of the same places.
            targets: (B, T); `IGNORE` costs nothing.
        """
        logits = widened(self.add(features @ W.t() + b, weights(features, evidence[-1]), evidence))
        return F.cross_entropy(time_major(logits), time_major(targets), ignore_index=IGNORE, reduction="sum")

    @cached_property
    def features(self) -> ContextFeatures:
        """Words and lines of the vocabulary."""
        return ContextFeatures(self.vocab)

    def fold(self, number: int) -> None:
        """Count the complement of each fold of the text.

        Args:
            number: how many folds of equal length.
        """
        self.edges = np.arange(number + 1) * len(self.ids) // number
        pairs = zip(self.edges[:-1], self.edges[1:], strict=True)
        self.tables[1:] = [self.count([self.ids[:a], self.ids[b:]]) for a, b in pairs]

    def unfold(self) -> None:
        """Forget the tables of the folds."""
        del self.tables[1:]

    @property
    def has_folds(self) -> bool:
        """Whether there are tables of folds."""
        return len(self.tables) > 1

    def without(self, places: Int64Array, stops: Int64Array) -> Int64Array:
        """The number of the table that has not counted each place, (B, T); 0 outside of the text.

        Args:
            places: positions in the text, (B, T).
            stops: where the places of each row end, (B, 1); later ones are padding, and get any fold.
        """
        fold = np.clip(np.searchsorted(self.edges, places, "right"), 1, len(self.tables) - 1)
        outside = ((places < 0) | (places >= len(self.ids))) & (places < stops)
        return np.where(outside, 0, fold)


class DenseExperts(ExpertSet[Experts]):
    """By numpy, with the probability of every token under every expert: the definition."""

    def count(self, parts: Sequence[Ids]) -> Experts:
        """The experts of pieces of a text."""
        return Experts(self.vocab, parts, self.order)

    @property
    def nbytes(self) -> int:
        """That of the counts."""
        return self.tables[0].nbytes

    def find(
        self, inputs: Integers, read: Integers, memory: Int64Array, chosen: Int64Array | None
    ) -> tuple[Evidence, Int64Array]:
        """The log-probabilities, (B, T, K, V), and the backoff weights, (B, T, K)."""
        keys, memory = self.features.extract(inputs, memory)
        tokens = np.concatenate((read, inputs), 1)
        if chosen is None:
            log_p, backoff = self.tables[0].after(tokens, keys)
        else:
            log_p, backoff = mixed_experts(self.tables, chosen, tokens, keys)
        return (torch.from_numpy(log_p), torch.from_numpy(backoff)), memory

    def add(self, logits: Tensor, weights: Tensor, evidence: Evidence) -> Tensor:
        """The sum as it is written."""
        return logits + (weights[..., None, :] @ evidence[0].to(weights)).squeeze(-2)


class NativeExperts(ExpertSet[NativeTable]):
    """Compiled: over the tokens that each context has seen."""

    def count(self, parts: Sequence[Ids]) -> NativeTable:
        """The flat memory of the experts of pieces of a text."""
        return table_of(Experts(self.vocab, parts, self.order))

    @property
    def nbytes(self) -> int:
        """That of the table."""
        return self.tables[0].nbytes

    @cached_property
    def context_tokens(self) -> ContextTokens:
        """What tells words and lines apart."""
        return context_tokens(self.features)

    def find(
        self, inputs: Integers, read: Integers, memory: Int64Array, chosen: Int64Array | None
    ) -> tuple[Evidence, Int64Array]:
        """The contexts, (B, T, K), the tables, (B, T), and the backoff weights, (B, T, K)."""
        picked = np.zeros(inputs.shape, np.int32) if chosen is None else chosen.astype(np.int32)
        contexts, backoff, memory = find_contexts(self.tables, self.context_tokens, inputs, read, memory, picked)
        return (torch.from_numpy(contexts), torch.from_numpy(picked), torch.from_numpy(backoff)), memory

    def of_streams(self, weights: ExpertWeights) -> StreamExperts | None:
        """The table of the whole text."""
        return StreamExperts(weights, self.tables[0], self.context_tokens)

    def sum(self, evidence: Evidence) -> ExpertSum:
        """The sum at the places of some evidence."""
        return ExpertSum(self.tables, time_major(evidence[0]), time_major(evidence[1]))

    def add(self, logits: Tensor, weights: Tensor, evidence: Evidence) -> Tensor:
        """The sum in float32 on the CPU, wherever the logits are."""
        if logits.device.type != "cpu" or logits.dtype != torch.float32:
            return logits + self.add(torch.zeros(logits.shape), weights.cpu().float(), evidence).to(logits)
        found = add_experts(time_major(logits), time_major(weights), self.sum(evidence))
        return found.view(logits.shape[1], logits.shape[0], -1).transpose(0, 1)

    def cross_entropy(
        self, features: Tensor, W: Tensor, b: Tensor, weights: ExpertWeights, evidence: Evidence, targets: Tensor
    ) -> Tensor:
        """On the CPU in float32 in one pass, which does not keep the logits."""
        if W.device.type != "cpu" or W.dtype != torch.float32:
            return super().cross_entropy(features, W, b, weights, evidence, targets)
        x, backoff, tokens = map(time_major, (features, evidence[-1], targets))
        return expert_cross_entropy(x, W, b, weights, backoff, tokens, self.sum(evidence))


def time_major(tensor: Tensor) -> Tensor:
    """(B, T, ...) as (T B, ...), the order in which engines compute, so that mostly nothing is copied."""
    return tensor.transpose(0, 1).flatten(0, 1)


_BY_DEFINITION: ContextVar[bool] = ContextVar("by_definition", default=False)


@contextmanager
def by_definition() -> Iterator[None]:
    """A context in which no compiled experts are used, as before there were any: files of then need the same bits."""
    before = _BY_DEFINITION.set(True)
    try:
        yield
    finally:
        _BY_DEFINITION.reset(before)


def uses_compiled(dtype: torch.dtype) -> bool:
    """Whether experts are compiled here.

    Args:
        dtype: of the weights of the network that holds them.
    """
    return is_compiled() and dtype == torch.float32 and not _BY_DEFINITION.get()


def largest_vocabulary() -> int:
    """Tokens of the largest vocabulary that experts are for here."""
    return COMPILED_LARGEST if is_compiled() else LARGEST


def check_vocabulary(size: int) -> None:
    """Refuse a vocabulary that experts are not for.

    Args:
        size: its tokens.

    Raises:
        ConfigError: there are more than `largest_vocabulary`.
    """
    most = largest_vocabulary()
    if size > most:
        without = "" if is_compiled() else " where elman was installed without a compiler"
        raise ConfigError(
            f"ngram_experts needs a vocabulary of at most {most:,} tokens{without}, and this one has {size:,}: "
            "use --ngram-experts 0, or --tokens byte"
        )


def expert_set(vocab: Vocab, order: int, ids: Ids, dtype: torch.dtype) -> ExpertSet[Experts] | ExpertSet[NativeTable]:
    """The tables of a text: compiled where there is a compiler, and float32 is wanted.

    Args:
        vocab: as of `ExpertSet`.
        order: as of `ExpertSet`.
        ids: as of `ExpertSet`.
        dtype: of the logits.
    """
    return NativeExperts(vocab, order, ids) if uses_compiled(dtype) else DenseExperts(vocab, order, ids)
