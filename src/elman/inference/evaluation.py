"""Scoring of a text by a model: nats and every metric, by three named protocols.

    carried     one state through the whole text
    reset       the state starts anew every `window` tokens
    dynamic     one state, and the model goes on learning from what was scored (`elman.inference.dynamic`)

Sums are kept in float64 and divided once (`elman.inference.metrics`).
"""

import math
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elman.arguments import checked
from elman.cells import State
from elman.data.batches import IGNORE, Ids, IdsLike, Rows, as_ids, gather
from elman.data.cleaning import cleaning
from elman.data.corpus import Split, numbered, reversed_split
from elman.data.originals import Originals
from elman.data.tokens import TokenSequence
from elman.errors import ConfigError, DataError
from elman.inference.dynamic import dynamic_chunks
from elman.inference.lossless import other_bits
from elman.inference.metrics import METRICS, ScoredTargets, argmax, sums, values
from elman.models.base import SequenceModel
from elman.models.task import TextTask

Number = TypeVar("Number", np.float64, np.bool_)
Protocol = Literal["carried", "reset", "dynamic"]
AT_REST: tuple[Protocol, ...] = ("carried", "reset")
"""Protocols under which the model stays as it is."""
PROTOCOLS: tuple[Protocol, ...] = (*AT_REST, "dynamic")
WARM = 128  # tokens that a stream reads before the first that it is scored on, or all where there are fewer
LONGEST = 20_000  # tokens of a stream, when the number of streams is left open
AFFORDABLE = 2**28  # logits that a figure which need not be over a whole text may cost
LOGITS_AT_ONCE = 2**22  # 16 MB


@dataclass(frozen=True)
class Score:
    """The cost of a text under a model, and every metric that follows."""

    protocol: Protocol
    tokens: int
    nats: float
    characters: int
    bytes: int
    unknown: int
    """Tokens that the vocabulary does not hold; they are scored as `<unk>`."""
    streams: int
    """Carried: streams the text was cut into, each warmed on the 128 tokens before it. Reset: windows. Dynamic: 1."""
    window: int | None
    """Reset: steps after which the state starts anew."""
    other_bits: float | None = 0.0
    """Bits of white space between words and of symbols that are not in the vocabulary; None: they are not known."""
    totals: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Sums over all tokens of the metrics that do not follow from the nats, by name."""

    @property
    def metrics(self) -> dict[str, float | None]:
        """Every registered metric by name; None where it was not measured."""
        return values(self.nats, self.totals, self)

    @property
    def perplexity(self) -> float:
        """exp(nats / tokens): 1 is certainty, V is a uniform guess."""
        return self._metric("perplexity")

    @property
    def bits_per_character(self) -> float:
        """Bits per character of the original text; NaN where only the ids of unknown symbols are known."""
        return self._metric("bits_per_character")

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of the original text in UTF-8; NaN as for `bits_per_character`."""
        return self._metric("bits_per_byte")

    @property
    def accuracy(self) -> float:
        """The share of tokens that have the largest logit."""
        return self._metric("accuracy")

    def _metric(self, name: str) -> float:
        found = self.metrics[name]
        return math.nan if found is None else found


class Reader(typing.Protocol):
    """Whatever reads text as the tokens of a task, as every model does."""

    @property
    def task(self) -> TextTask:
        """Its vocabulary and cleaning."""


def part_of(model: Reader, text: str | IdsLike | Split, marks: int = 0) -> Split:
    """Any form of a text as a `Split`: ids, and what they stand for.

    Args:
        model: whose vocabulary and cleaning are used.
        text: a string; or token ids or a part of a corpus, in the order in which the model reads.
        marks: byte order marks that were left out of the string.

    Raises:
        DataError: a part that was numbered by another vocabulary, or stands in the other order.
    """
    task, vocab = model.task, model.task.vocab
    if isinstance(text, Split):
        text.check_readable(vocab, reverse=task.reverse)
        return text
    if isinstance(text, str):
        pieces = cleaning(task.normalize, vocab.segmentation).apply([text])
        tokens = replace(TokenSequence.read(pieces, vocab.level, segmentation=vocab.segmentation), marks=marks)
        part = numbered("text", vocab.encode(tokens), Originals.of(tokens, vocab), vocab)
        return reversed_split(part) if task.reverse else part
    ids = as_ids(text, len(vocab), "the ids of the text")
    tokens = TokenSequence(vocab.level, task.reading_order(ids), vocab.idx_to_token, vocab.segmentation)
    unknown = vocab.unknown and bool((ids == 0).any())
    part = numbered("text", tokens.codes, None if unknown else Originals.of(tokens, vocab), vocab)
    return reversed_split(part) if task.reverse else part


def beginning(model: Reader, text: Split | IdsLike, tokens: int, logits: int = AFFORDABLE) -> Split:
    """The first `tokens` tokens of a text, or all there are.

    Args:
        model: whose vocabulary the ids are of.
        text: token ids, or a part of a corpus.
        tokens: the largest number of tokens.
        logits: the largest number of logits, which are tokens times V.
    """
    most = max(1, min(tokens, logits // model.task.size))
    return part_of(model, text).first(most, model.task.vocab)


class ScoredBatch(NamedTuple):
    """A batch of targets and what a model predicted for them; padding has target `IGNORE` and 0 nats."""

    rows: Rows
    """Where in the text the targets stand."""
    logits: Tensor
    """(B, T, V)"""
    targets: Tensor
    """(B, T)"""
    nats: Tensor
    """(B, T) float64"""

    def real(self) -> ScoredTargets:
        """All targets but padding, in any order."""
        # Engines lay their outputs out time-major: flattened so, the logits are not copied.
        logits, targets, nats = (t.transpose(0, 1).flatten(0, 1) for t in self[1:])
        real = targets != IGNORE
        if not real.all():
            logits, targets, nats = logits[real], targets[real], nats[real.to(nats.device)]
        return ScoredTargets(logits, targets, nats)


@checked
def evaluate(
    model: SequenceModel,
    text: str | IdsLike | Split,
    *,
    protocol: Protocol = "carried",
    window: int = 32,
    streams: int | None = None,
    before: IdsLike | None = None,
    per_token: npt.NDArray[np.float64] | None = None,
    hits: npt.NDArray[np.bool_] | None = None,
    collect: Callable[[ScoredBatch], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Score:
    """The cost of every token of `text`, the first included, and every metric.

    Args:
        model: whose predictions are scored; it is not changed.
        text: a string; or token ids or a part of a corpus, in the order in which the model reads.
        protocol: "carried" keeps one state through the whole text; "reset" starts anew every `window` tokens;
            "dynamic" keeps one state, and a copy of the model learns from each token after it was scored.
        window: steps between resets; unused by the other protocols.
        streams: carried: cut the text into that many streams, scored side by side, each warmed on the 128
            tokens before it; at most one a token. Left open: one stream a 20,000 tokens, so that short texts are
            scored exactly.
        before: dynamic: tokens that are read first, neither scored nor learnt from: the end of the training text.
        per_token: filled with the nats of each token, (N,), -log P(token | what the protocol lets it see).
        hits: filled with whether each token, (N,), is the most probable one.
        collect: called with each scored batch.
        on_progress: called after each batch with the number of tokens done, and of all tokens.

    Returns:
        Sums over the text; `Score.metrics` divides them.

    Raises:
        ConfigError: an unknown protocol, a window under 1, arguments of another protocol, or "dynamic" for a model
            that was counted once.
        DataError: an empty text.
    """
    part = part_of(model, text)
    if before is not None and protocol != "dynamic":
        raise ConfigError(f"before is for the protocol 'dynamic', not for {protocol!r}: leave it out")
    for name, each in (("per_token", per_token), ("hits", hits)):
        if each is not None and (not isinstance(each, np.ndarray) or each.shape != (len(part.ids),)):
            raise ConfigError(f"{name} must be an array with a place for each of the {len(part.ids):,} tokens")
    read = None if before is None else as_ids(before, model.task.size, "the ids before the text")
    count = max(1, min(256, len(part.ids) // LONGEST)) if streams is None else min(streams, len(part.ids))
    count = 1 if protocol == "dynamic" else count
    done, nats, totals = 0, 0.0, {name: 0.0 for name, metric in METRICS.items() if not metric.from_nats}
    for batch in score_batches(model, part.ids, protocol, window, count, read):
        nats += float(batch.nats.cpu().numpy().sum())
        targets = batch.real()
        for name, total in sums(targets):
            totals[name] += total
        if per_token is not None:
            _scatter(batch.rows, batch.nats, per_token)
        if hits is not None:
            _scatter(batch.rows, argmax(batch.logits) == batch.targets, hits)
        if collect is not None:
            collect(batch)
        done += batch.rows.targets
        if on_progress is not None:
            on_progress(done, len(part.ids))
    is_reset = protocol == "reset"
    return Score(
        protocol,
        len(part.ids),
        nats,
        part.characters,
        part.bytes,
        part.unknown,
        streams=-(-len(part.ids) // window) if is_reset else count,
        window=window if is_reset else None,
        other_bits=other_bits(part, model.task.vocab),
        totals=totals,
    )


def evaluate_dynamic(
    model: SequenceModel,
    text: str | IdsLike | Split,
    *,
    before: IdsLike | None = None,
    per_token: npt.NDArray[np.float64] | None = None,
) -> Score:
    """Deprecated: `evaluate(model, text, protocol="dynamic", before=before)`.

    Args:
        model: as for `evaluate`.
        text: as for `evaluate`.
        before: as for `evaluate`.
        per_token: as for `evaluate`.
    """
    warnings.warn(
        'elman.evaluate_dynamic is now elman.evaluate(..., protocol="dynamic"); it goes in 0.3',
        DeprecationWarning,
        stacklevel=2,
    )
    return evaluate(model, text, protocol="dynamic", before=before, per_token=per_token)


@checked
def surprisals(
    model: SequenceModel, ids: IdsLike, *, protocol: Protocol = "carried", window: int = 32, streams: int = 1
) -> npt.NDArray[np.float64]:
    """The cost of each token in nats, (N,): -log P(token | what the protocol lets it see).

    Args:
        model: whose predictions are scored; it is not changed.
        ids: token ids, (N,), in the order in which the model reads.
        protocol: as for `evaluate`.
        window: reset: steps between resets.
        streams: carried: streams that are scored side by side.

    Raises:
        ConfigError: as `evaluate`.
        DataError: an empty text.
    """
    ids = as_ids(ids, model.task.size)
    each = np.zeros(len(ids))
    for batch in score_batches(model, ids, protocol, window, streams):
        _scatter(batch.rows, batch.nats, each)
    return each


def _scatter(rows: Rows, measured: Tensor, each: npt.NDArray[Number]) -> None:
    """Write what was measured of each target, (B, T), where it stands in the text, (N,)."""
    at = rows.starts[:, None] + np.arange(measured.shape[1])
    real = at < rows.stops[:, None]
    each[at[real]] = measured.numpy(force=True)[real]


def score_batches(
    model: SequenceModel,
    ids: Ids,
    protocol: Protocol,
    window: int,
    streams: int,
    before: Ids | None = None,
) -> Iterator[ScoredBatch]:
    """Scored batches in the order of the protocol, until every token was a target once.

    Args:
        model: whose predictions are scored.
        ids: token ids, (N,), in the order in which the model reads.
        protocol: as for `evaluate`.
        window: reset: steps between resets, at least 1.
        streams: carried: streams that are scored side by side, at least 1.
        before: dynamic: as for `evaluate`.

    Raises:
        ConfigError: as `evaluate`.
        DataError: an empty text.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(
            f"there is no protocol {protocol!r}: choose one of {', '.join(PROTOCOLS[:-1])} or {PROTOCOLS[-1]}"
        )
    if len(ids) == 0:
        raise DataError("there is nothing to score: the text has no tokens")
    if window < 1:
        raise ConfigError(f"window is {window}: it must be at least 1")
    if streams < 1:
        raise ConfigError(f"streams is {streams}: it must be at least 1")
    if protocol == "dynamic":
        return _scored_dynamic(model, ids, before)
    return _scored_at_rest(model, ids, protocol, window, min(streams, len(ids)))  # no more memory than tokens need


def _scored_dynamic(model: SequenceModel, ids: Ids, before: Ids | None) -> Iterator[ScoredBatch]:
    at = 0
    for logits, nats in dynamic_chunks(model, ids, before=before):
        stop = at + nats.shape[1]
        targets = torch.from_numpy(ids[at:stop].astype(np.int64))[None].to(logits.device)
        yield ScoredBatch(Rows(np.array([at]), np.array([stop]), fresh=at == 0), logits, targets, nats)
        at = stop


def _scored_at_rest(
    model: SequenceModel, ids: Ids, protocol: Protocol, window: int, streams: int
) -> Iterator[ScoredBatch]:
    rows = (
        _carried(len(ids), streams, model.task.size)
        if protocol == "carried"
        else _reset(len(ids), window, model.task.size)
    )
    state: State | None = None
    for row in rows:
        # Not around the loop: a generator that yields inside the mode would leave its caller in it.
        with torch.inference_mode():
            if row.fresh or state is None:
                state = _warmed(model, ids, row.starts, WARM if protocol == "carried" else 0)
            inputs, targets = map(torch.from_numpy, gather(ids, row))
            logits, state = model(inputs.to(state[0].device), state)
            targets = targets.to(logits.device)
            nats = model.task.surprisals(logits, targets)
        yield ScoredBatch(row, logits, targets, nats)


def _carried(n: int, streams: int, size: int) -> Iterator[Rows]:
    edges = np.arange(streams + 1) * n // streams
    longest = int(np.diff(edges).max())
    step = max(1, min(1024, LOGITS_AT_ONCE // (streams * size)))
    for start in range(0, longest, step):
        stops = np.minimum(edges[:-1] + start + step, edges[1:])
        yield Rows(np.minimum(edges[:-1] + start, stops), stops, fresh=start == 0)


def _reset(n: int, window: int, size: int) -> Iterator[Rows]:
    edges = np.minimum(np.arange(0, n + window, window), n)
    edges = edges[: -(-n // window) + 1]
    rows = max(1, min(64, LOGITS_AT_ONCE // (window * size)))
    for first in range(0, len(edges) - 1, rows):
        chosen = edges[first : first + rows + 1]
        yield Rows(chosen[:-1], chosen[1:], fresh=True)


def _warmed(model: SequenceModel, ids: Ids, starts: npt.NDArray[np.int64], warm: int) -> State:
    """The states of streams that begin at `starts`, each after the `warm` tokens before it, or all that there are."""
    state = model.initial(len(starts))
    lengths = np.minimum(warm, starts)
    for length, shorter in pairwise(sorted({0, *lengths.tolist()}, reverse=True)):
        rows = np.flatnonzero(lengths >= length)  # those that have begun; the others begin later
        inputs, _ = gather(ids, Rows(starts[rows] - length, starts[rows] - shorter, fresh=True))
        own = tuple(s[torch.from_numpy(rows).to(s.device)] for s in state)
        for chunk in torch.from_numpy(inputs).split(max(1, LOGITS_AT_ONCE // (len(rows) * model.task.size)), 1):
            _, own = model(chunk.to(own[0].device), own)
        state = tuple(_replace(old, rows, new) for old, new in zip(state, own, strict=True))
    return state


def _replace(old: Tensor, rows: npt.NDArray[np.int64], new: Tensor) -> Tensor:
    return old.clone().index_copy_(0, torch.from_numpy(rows).to(old.device), new)
