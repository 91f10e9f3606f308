"""Metrics of a scored text: each is one class, which evaluation, comparisons, reports and JSON all take from `METRICS`.

    perplexity         = exp(nats / tokens)             over all tokens, `<unk>` included
    bits               = nats / log(2) + other bits     spelling of what is unknown, white space between words
    bits per character = bits / characters              of the text as it was read
    bits per byte      = bits / bytes                   of the same text in UTF-8
    accuracy           = hits / tokens                  tokens that have the largest logit

Every metric is a sum over targets, kept in float64, that is divided once. A subclass registers itself:

    class TopFive(elman.Metric):
        name, heading, form, better = "top5", "top 5", ".1%", "higher"

        def token_values(self, batch):
            return (batch.logits.topk(5).indices == batch.targets[:, None]).any(-1)

        def value(self, total, text):
            return total / text.tokens
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

METRICS: dict[str, "Metric"] = {}
"""Every metric by its name, in the order in which tables show them."""


class TextSize(Protocol):
    """How long a scored text is."""

    @property
    def tokens(self) -> int | None:
        """Tokens that were scored; None where a text was not split into tokens, as for a compressor of words."""

    @property
    def characters(self) -> int:
        """Characters of the text as it was read."""

    @property
    def bytes(self) -> int | None:
        """Bytes of the same text in UTF-8; None where they were not counted."""

    @property
    def other_bits(self) -> float | None:
        """Bits of what is not in the tokens (`elman.inference.lossless`); None where that is not known."""


@dataclass(frozen=True, eq=False)
class ScoredTargets:
    """Some targets, N of them in any order, and what a model predicted for each.

    Args:
        logits: (N, V); log-probabilities up to a constant for each target.
        targets: (N,) int64, token ids from 0 to V - 1.
        nats: (N,) float64, -log P(target).
    """

    logits: Tensor
    targets: Tensor
    nats: Tensor


class Metric(ABC):
    """A figure of a scored text: a sum over its tokens, divided once."""

    name: ClassVar[str]
    """Its key in `Score.metrics` and in JSON."""
    heading: ClassVar[str]
    """Its column in a table."""
    form: ClassVar[str]
    """The format of its value in tables, as of `format`."""
    long_form: ClassVar[str] = ""
    """The format where one text is scored alone; empty: that of tables."""
    better: ClassVar[Literal["lower", "higher"]]
    """Which values are the better ones."""
    from_nats: ClassVar[bool] = False
    """Whether its sum is that of the nats, so that compressors and bounds have it too."""
    in_tables: ClassVar[bool] = True
    """Whether comparisons and reports print it; JSON always has it."""
    one_vocabulary: ClassVar[bool] = False
    """Whether a table of models with different vocabularies leaves it out."""

    def __init_subclass__(cls) -> None:
        if "name" in vars(cls):
            METRICS[cls.name] = cls()

    @property
    def words(self) -> str:
        """Its name in a sentence."""
        return self.name.replace("_", " ")

    @abstractmethod
    def token_values(self, batch: ScoredTargets) -> Tensor:
        """What each target adds to the sum, (N,), of any numeric or boolean type."""

    @abstractmethod
    def value(self, total: float, text: TextSize) -> float | None:
        """The metric itself.

        Args:
            total: the sum of `token_values` over all targets.
            text: the text that was scored.

        Returns:
            The figure; None where the text has no unit to divide by.
        """


class NatsMetric(Metric):
    """A metric that follows from the nats of the whole text."""

    from_nats = True

    def token_values(self, batch: ScoredTargets) -> Tensor:
        """The nats of each target."""
        return batch.nats


class Perplexity(NatsMetric):
    """exp(nats / tokens): 1 is certainty, V is a uniform guess."""

    name, heading, form, long_form, better = "perplexity", "perplexity", ".2f", ".3f", "lower"
    one_vocabulary = True

    def value(self, total: float, text: TextSize) -> float | None:
        """exp(nats / tokens)."""
        return None if text.tokens is None else perplexity(total, text.tokens)


class BitsPerCharacter(NatsMetric):
    """Bits of the tokens and of what they do not hold, per character of the original text."""

    name, heading, form, long_form, better = "bits_per_character", "bits/char", ".3f", ".4f", "lower"

    def value(self, total: float, text: TextSize) -> float | None:
        """(nats / log(2) + other bits) / characters."""
        return bits_per(text.characters, total, text.other_bits)


class BitsPerByte(NatsMetric):
    """Bits of the tokens and of what they do not hold, per byte of the original text in UTF-8."""

    name, heading, form, long_form, better = "bits_per_byte", "bits/byte", ".3f", ".4f", "lower"
    in_tables = False

    def value(self, total: float, text: TextSize) -> float | None:
        """(nats / log(2) + other bits) / bytes."""
        return bits_per(text.bytes, total, text.other_bits)


class Accuracy(Metric):
    """The share of tokens that have the largest logit; of equal logits the first is taken."""

    name, heading, form, long_form, better = "accuracy", "accuracy", ".1%", ".2%", "higher"
    one_vocabulary = True  # whose `<unk>` stands for more is right more often, and knows less

    def token_values(self, batch: ScoredTargets) -> Tensor:
        """Whether each target has the largest logit, (N,)."""
        return argmax(batch.logits) == batch.targets

    def value(self, total: float, text: TextSize) -> float | None:
        """Hits / tokens."""
        return None if text.tokens is None else total / text.tokens


def argmax(logits: Tensor) -> Tensor:
    """The index of the largest of logits (..., V), the first of equal ones; (...) int64."""
    if not logits.is_cpu:
        return logits.argmax(-1)
    # NumPy's is vectorised: 10 times as fast as PyTorch's on the CPU for V = 2,000. It has no bfloat16.
    logits = logits.float() if logits.dtype == torch.bfloat16 else logits
    return torch.from_numpy(np.asarray(logits.numpy(force=True).argmax(-1)))


def perplexity(nats: float, tokens: int) -> float:
    """exp(nats / tokens), infinite where a float cannot hold it.

    Args:
        nats: of all tokens together.
        tokens: how many, at least 1.
    """
    mean = nats / tokens
    return math.exp(mean) if mean < 700 else math.inf


def bits_per(units: int | None, nats: float, other_bits: float | None) -> float | None:
    """(nats / log(2) + other bits) / units; NaN of an empty text.

    Args:
        units: characters or bytes of the text; None: not counted.
        nats: of all tokens together.
        other_bits: of what is not in the tokens; None: not known.
    """
    if units is None or other_bits is None:
        return None
    return (nats / math.log(2) + other_bits) / units if units else math.nan


def sums(batch: ScoredTargets) -> Iterator[tuple[str, float]]:
    """Name and sum over some targets of every metric that does not follow from the nats."""
    for name, metric in METRICS.items():
        if not metric.from_nats:
            yield name, float(metric.token_values(batch).cpu().double().sum())


def values(nats: float, totals: Mapping[str, float], text: TextSize) -> dict[str, float | None]:
    """Every metric of a text by name.

    Args:
        nats: of all tokens together.
        totals: the sums of the metrics that do not follow from the nats, by name.
        text: the text that was scored.

    Returns:
        A value a metric; None where its sum was not measured, or the text has no such unit.
    """
    found: dict[str, float | None] = {}
    for name, metric in METRICS.items():
        total = nats if metric.from_nats else totals.get(name)
        found[name] = None if total is None else metric.value(total, text)
    return found
