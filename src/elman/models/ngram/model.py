"""The n-gram model: the smoothed distribution of the next token after the last n-1."""

import math
import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor

from elman.arguments import checked
from elman.cells import State
from elman.config import STRICT, validated
from elman.data.batches import START, Ids, IdsLike, as_ids
from elman.errors import ConfigError, DataError, ModelError, no_such
from elman.models.base import SequenceModel
from elman.models.ngram.counts import UNREAD, Counts, Int64Array, check_order, validated_counts
from elman.models.ngram.smoothing import SMOOTHINGS, Float64Array, Smoothed, interpolate_
from elman.models.task import TextTask
from elman.storage.folder import Saved

HIGHEST = 8  # the highest order that is tried where none is given
LARGE, HIGHEST_LARGE = 10_000_000, 5  # tokens from which on fewer orders are tried, and up to which
NGRAM_TOKENS = 20_000_000  # the last tokens of a training text that the n-gram of a run or a comparison counts


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NGramSettings:
    """What a saved n-gram model says of itself."""

    order: Annotated[PositiveInt, Field(le=1000)]
    """Tokens of the longest n-grams."""
    smoothing: str
    """How counts become probabilities."""
    eps: NonNegativeFloat
    """Strength of the two Laplace smoothings."""


class NGram(SequenceModel):
    """An n-gram language model with one of several smoothings (`elman.models.ngram.smoothing`).

    The state is the last n-1 tokens, (B, n-1), -1 where nothing was read yet. A prediction is a vector of
    log-probabilities.

    Args:
        task: the symbols to read and predict.
        counts: the n-grams of the training text; their length is the order.
        smoothing: `kneser-ney` (modified and interpolated; Chen and Goodman 1999), `laplace` (additive, all orders
            back off to the unigram; Smola and Li 2019), `laplace-recursive`, or `witten-bell`.
        eps: the strength of the two Laplace smoothings.

    Raises:
        ConfigError: an unknown smoothing, a negative eps.

    Example:
        >>> import elman
        >>> vocab = elman.Vocab.chars("abracadabra")
        >>> model = NGram.fit(elman.TextTask(vocab), vocab.encode("abracadabra"), order=2)
        >>> logits, _ = model(torch.tensor([[vocab["b"]]]), model.initial(1))
        >>> vocab.to_tokens(int(logits[0, 0].argmax()))
        'r'
    """

    kind: ClassVar[str] = "ngram"

    @checked
    def __init__(self, task: TextTask, counts: Counts, *, smoothing: str = "kneser-ney", eps: float = 1.0) -> None:
        if smoothing not in SMOOTHINGS:
            raise ConfigError(no_such("smoothing", smoothing, SMOOTHINGS))
        self.task, self.counts, self.smoothing, self.eps = task, counts, smoothing, eps
        self.smoothed: Smoothed = SMOOTHINGS[smoothing](counts, eps)

    @classmethod
    @checked
    def fit(
        cls, task: TextTask, ids: IdsLike, *, order: int | None = None, smoothing: str = "kneser-ney", eps: float = 1.0
    ) -> "NGram":
        """Count the n-grams of a training text.

        Args:
            task: the symbols to read and predict.
            ids: the training text, (N,) token ids.
            order: n, 1 or more; None chooses it on the last tenth of the text (`best_order`).
            smoothing: as of the class.
            eps: as of the class.

        Returns:
            The model.

        Raises:
            ConfigError: an order or smoothing that cannot be.
            DataError: the text is empty, or shorter than the order.
        """
        ids = as_ids(ids, task.size)
        if not len(ids):
            raise DataError("the text is empty, so no n-gram can be counted: give a text")
        order = best_order(task, ids, smoothing=smoothing, eps=eps) if order is None else order
        return cls(task, Counts.of(ids, task.size, order), smoothing=smoothing, eps=eps)

    @classmethod
    def count(cls, task: TextTask, ids: IdsLike, **settings: Any) -> "NGram":
        """The old name of `fit`."""
        _warn_renamed("count", "fit")
        return cls.fit(task, ids, **settings)

    @property
    def order(self) -> int:
        """n, the length of the longest n-grams."""
        return self.counts.order

    def initial(self, batch: int) -> State:
        """The state before anything was read: (batch, n-1) of -1."""
        return (torch.full((batch, self.order - 1), -1, dtype=torch.int64),)

    def __call__(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:  # noqa: ARG002 - the protocol's
        """Log-probabilities (B, T, V) of the token after each of inputs (B, T), and the last n-1 tokens then."""
        read = torch.cat((state[0], inputs), 1).numpy(force=True)
        contexts = [c[:, self.order - 1 :].ravel() for c in self.counts.contexts(read)]
        p = self._probabilities(contexts).reshape(*inputs.shape, -1)
        with np.errstate(divide="ignore"):
            return torch.from_numpy(np.log(p)), (torch.from_numpy(read[:, inputs.shape[1] :]),)

    def next_probabilities(self, tokens: Int64Array) -> Float64Array:
        """The probabilities of the next token, (N, V), after contexts of n-1 tokens, (N, n-1); -1 where none was."""
        padded = np.concatenate((np.full((len(tokens), 1), -1), tokens), 1)
        return self._probabilities([c[:, -1] for c in self.counts.contexts(padded)])

    def _probabilities(self, contexts: list[Int64Array]) -> Float64Array:
        """The probabilities of the next token, (N, V), given the ranks of contexts of 0 to n-1 tokens, (N,) each."""
        p = np.broadcast_to(self._unigram, (len(contexts[0]), self.task.size)).copy()
        for n, (context, level) in enumerate(zip(contexts[1:], self.smoothed.levels[1:], strict=True), 1):
            if self.smoothed.to_unigram:
                p[context != UNREAD] = self._unigram
            interpolate_(p, context, self.counts.first_children[n], self.counts.tokens[n], level)
        return p

    @cached_property
    def _unigram(self) -> Float64Array:
        level = self.smoothed.levels[0]
        p: Float64Array = level.discounted_prob + level.backoff_weight[0] / self.task.size
        return p

    def surprisals(self, ids: IdsLike) -> Float64Array:
        """The surprisal -log P of each token of a text read as one stream, without all other tokens' probabilities.

        Args:
            ids: the text, (N,) token ids.

        Returns:
            Nats, (N,); infinite where a probability is 0.
        """
        ids = as_ids(ids, self.task.size)
        read = np.concatenate((np.full(self.order - 1, -1), [START], ids[:-1].astype(np.int64)))
        contexts = [c[self.order - 1 :] for c in self.counts.contexts(read)]
        p = unigram = self._unigram[ids]
        for n, (context, level) in enumerate(zip(contexts[1:], self.smoothed.levels[1:], strict=True), 2):
            at = self.counts.find(n, context, ids)
            shorter = np.where(context == UNREAD, p, unigram) if self.smoothed.to_unigram else p
            weight = np.where(context >= 0, level.backoff_weight[np.maximum(context, 0)], 1.0)
            p = np.where(at >= 0, level.discounted_prob[at], 0.0) + weight * shorter
        with np.errstate(divide="ignore"):
            return -np.log(p)

    def costs(self, ids: IdsLike) -> Float64Array:
        """The old name of `surprisals`."""
        _warn_renamed("costs", "surprisals")
        return self.surprisals(ids)

    def settings(self) -> dict[str, Any]:
        """The arguments that rebuild the model, but for the counts."""
        return {"order": self.order, "smoothing": self.smoothing, "eps": self.eps}

    @classmethod
    def from_saved(cls, saved: Saved, task: TextTask, settings: Mapping[str, Any], *, engine: str) -> "NGram":  # noqa: ARG003 - it has none
        """The counts of a saved folder, checked, and smoothed again."""
        values = validated(NGramSettings, settings)
        tensors = saved.tensors("model.safetensors", None)
        names = [f"{what}.{n}" for n in range(1, values.order + 1) for what in ("keys", "times")]
        if sorted(names) != sorted(tensors) or any(t.dtype != torch.int64 or t.dim() != 1 for t in tensors.values()):
            raise ModelError(f"{saved.path}: model.safetensors does not hold the counts of a {values.order}-gram")
        arrays = [tensors[name].numpy() for name in names]
        try:
            counts = validated_counts(task.size, arrays[::2], arrays[1::2])
        except ValueError as error:
            raise ModelError(f"{saved.path}: model.safetensors holds no counts of n-grams: {error}") from error
        return cls(task, counts, smoothing=values.smoothing, eps=values.eps)

    @property
    def name(self) -> str:
        """The order: 5-gram."""
        return f"{self.order}-gram"

    def tensors(self) -> dict[str, Tensor]:
        """The keys and counts of every length (`elman.models.ngram.counts`)."""
        pairs = zip(self.counts.keys, self.counts.times, strict=True)
        return {
            f"{what}.{n}": torch.from_numpy(array)
            for n, (keys, times) in enumerate(pairs, 1)
            for what, array in (("keys", keys), ("times", times))
        }

    def parameter_count(self) -> int:
        """The number of distinct n-grams that were counted."""
        return sum(int((times > 0).sum()) for times in self.counts.times)

    def operations(self) -> int:
        """One per length for the probability of one token; a whole distribution takes V times as many."""
        return self.order


def _warn_renamed(old: str, new: str) -> None:
    warnings.warn(
        f"NGram.{old} is now NGram.{new}; the old name goes in 0.3", category=DeprecationWarning, stacklevel=3
    )


def best_order(task: TextTask, ids: Ids, *, smoothing: str = "kneser-ney", eps: float = 1.0) -> int:
    """The order that predicts the last tenth of a training text best, counted on the rest of it.

    Args:
        task: the symbols to read and predict.
        ids: the training text, (N,) token ids.
        smoothing: as of `NGram`.
        eps: as of `NGram`.

    Returns:
        1 to `highest_order` of the text, the same on every machine.

    Raises:
        ConfigError: n-grams of the highest order need more memory than this machine has.
    """
    cut = len(ids) - len(ids) // 10
    highest = min(highest_order(len(ids)), cut)
    if cut == len(ids):  # too short to hold anything out
        return min(highest, 2)
    check_order(len(ids), task.size, highest)
    counts = Counts.of(ids[:cut], task.size, highest)
    each = {
        n: float(NGram(task, counts.upto(n), smoothing=smoothing, eps=eps).surprisals(ids[cut:]).sum())
        for n in range(1, highest + 1)
    }
    return min(each, key=lambda n: (each[n] if math.isfinite(each[n]) else math.inf, n))


def highest_order(tokens: int) -> int:
    """The highest order that is tried where none is given: 8, or 5 of a text of ten million tokens or more.

    Args:
        tokens: N, the length of the text.
    """
    return HIGHEST_LARGE if tokens >= LARGE else HIGHEST
