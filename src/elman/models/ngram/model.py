"""The n-gram model: it remembers n-1 tokens and knows what followed them in the training text."""

import math
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Generator, Tensor

from elman.cells import State
from elman.data.batches import START, Ids
from elman.engines import Sampler
from elman.engines.sampling import Sampling
from elman.errors import ConfigError, no_such
from elman.models.base import SequenceModel, Step, step_by_reading
from elman.models.ngram.counts import UNREAD, Counts, Int64Array, estimate, memory
from elman.models.ngram.smoothing import SMOOTHINGS, Float64Array, Smoothed, interpolate_
from elman.models.task import TextTask

HIGHEST = 8  # the longest n-grams that are tried where no order is given
LARGE, HIGHEST_LARGE = 10_000_000, 5  # tokens from which on fewer are tried, and how many


class NGram:
    """What followed the last n-1 tokens in the training text, smoothed (`elman.models.ngram.smoothing`).

    Its state is those tokens, (B, n-1), -1 where nothing was read yet. Prediction is a vector of log-probabilities.

    Args:
        task: the symbols to read and predict.
        counts: the n-grams of the training text; their length is the order.
        smoothing: `kneser-ney` (modified, interpolated), `laplace` (the lecture's formulas, literally),
            `laplace-recursive`, `witten-bell`.
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
    is_trained: ClassVar[bool] = False
    members: ClassVar[tuple[tuple[SequenceModel, float], ...]] = ()

    def __init__(self, task: TextTask, counts: Counts, *, smoothing: str = "kneser-ney", eps: float = 1.0) -> None:
        if smoothing not in SMOOTHINGS:
            raise ConfigError(no_such("smoothing", smoothing, SMOOTHINGS))
        self.task, self.counts, self.smoothing, self.eps = task, counts, smoothing, eps
        self.smoothed: Smoothed = SMOOTHINGS[smoothing](counts, eps)

    @classmethod
    def fit(
        cls, task: TextTask, ids: Ids, *, order: int | None = None, smoothing: str = "kneser-ney", eps: float = 1.0
    ) -> "NGram":
        """The model of a training text; without an order the one that predicts the end of that text best.

        Raises:
            ConfigError: an order or smoothing that cannot be.
            DataError: the text is shorter than the order.
        """
        order = best_order(task, ids, smoothing=smoothing, eps=eps) if order is None else order
        return cls(task, Counts.of(ids, task.size, order), smoothing=smoothing, eps=eps)

    @property
    def order(self) -> int:
        """n: the tokens of the longest n-grams, one more than are remembered."""
        return self.counts.order

    def initial(self, batch: int) -> State:
        """Nothing read: (batch, n-1) of -1."""
        return (torch.full((batch, self.order - 1), -1, dtype=torch.int64),)

    def __call__(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:  # noqa: ARG002 - the protocol's
        """Log-probabilities (B, T, V) of the token after each of inputs (B, T), and the tokens remembered then."""
        read = torch.cat((state[0], inputs), 1).numpy(force=True)
        contexts = [c[:, self.order - 1 :].ravel() for c in self.counts.contexts(read)]
        p = self._probabilities(contexts).reshape(*inputs.shape, -1)
        with np.errstate(divide="ignore"):
            return torch.from_numpy(np.log(p)), (torch.from_numpy(read[:, inputs.shape[1] :]),)

    def after(self, tokens: Int64Array) -> Float64Array:
        """Every token's probability, (N, V), after each of N contexts of n-1 tokens, (N, n-1); -1 was not read."""
        padded = np.concatenate((np.full((len(tokens), 1), -1), tokens), 1)
        return self._probabilities([c[:, -1] for c in self.counts.contexts(padded)])

    def _probabilities(self, contexts: list[Int64Array]) -> Float64Array:
        """Every token's probability, (N, V), in N places where `contexts` of 0 to n-1 tokens end."""
        p = np.broadcast_to(self._unigram, (len(contexts[0]), self.task.size)).copy()
        for n, (context, level) in enumerate(zip(contexts[1:], self.smoothed.levels[1:], strict=True), 1):
            if self.smoothed.to_unigram:
                p[context != UNREAD] = self._unigram
            interpolate_(p, context, self.counts.first_children[n], self.counts.tokens[n], level)
        return p

    @cached_property
    def _unigram(self) -> Float64Array:
        level = self.smoothed.levels[0]
        p: Float64Array = level.share + level.rest[0] / self.task.size
        return p

    def costs(self, ids: Ids) -> Float64Array:
        """The nats of each token of a text, (N,), read as one stream: what the protocol gives, but for one token each.

        Infinite where a probability is 0.
        """
        read = np.concatenate((np.full(self.order - 1, -1), [START], ids[:-1].astype(np.int64)))
        contexts = [c[self.order - 1 :] for c in self.counts.contexts(read)]
        p = unigram = self._unigram[ids]
        for n, (context, level) in enumerate(zip(contexts[1:], self.smoothed.levels[1:], strict=True), 2):
            at = self.counts.find(n, context, ids)
            shorter = np.where(context == UNREAD, p, unigram) if self.smoothed.to_unigram else p
            rest = np.where(context >= 0, level.rest[np.maximum(context, 0)], 1.0)
            p = np.where(at >= 0, level.share[at], 0.0) + rest * shorter
        with np.errstate(divide="ignore"):
            return -np.log(p)

    def stepper(self) -> Step:
        """The same one token at a time."""
        return step_by_reading(self)

    def sampler(self, draw: Sampling, streams: int) -> Sampler | None:  # noqa: ARG002 - the protocol's
        """Nothing but the steps."""
        return None

    def settings(self) -> dict[str, Any]:
        """The arguments that build this model again, but for the counts."""
        return {"order": self.order, "smoothing": self.smoothing, "eps": self.eps}

    @property
    def name(self) -> str:
        """Its order."""
        return f"{self.order}-gram"

    def tensors(self) -> dict[str, Tensor]:
        """Keys and counts of every length (`elman.models.ngram.counts`)."""
        pairs = zip(self.counts.keys, self.counts.times, strict=True)
        return {
            f"{what}.{n}": torch.from_numpy(array)
            for n, (keys, times) in enumerate(pairs, 1)
            for what, array in (("keys", keys), ("times", times))
        }

    def parameter_count(self) -> int:
        """How many n-grams it holds a count of."""
        return sum(int((times > 0).sum()) for times in self.counts.times)

    def operations(self) -> int:
        """One a length, for a token that is looked up; a whole distribution takes V times as many."""
        return self.order


def best_order(task: TextTask, ids: Ids, *, smoothing: str = "kneser-ney", eps: float = 1.0) -> int:
    """The order that predicts the last tenth of a training text best after the rest of it."""
    cut = len(ids) - len(ids) // 10
    highest = min(HIGHEST_LARGE if len(ids) >= LARGE else HIGHEST, cut)
    while highest > 1 and estimate(len(ids), task.size, highest) > memory() / 2:
        highest -= 1
    if cut == len(ids):  # nothing to choose it on
        return min(highest, 2)
    counts = Counts.of(ids[:cut], task.size, highest)
    each = {
        n: float(NGram(task, counts.upto(n), smoothing=smoothing, eps=eps).costs(ids[cut:]).sum())
        for n in range(1, highest + 1)
    }
    return min(each, key=lambda n: (each[n] if math.isfinite(each[n]) else math.inf, n))
