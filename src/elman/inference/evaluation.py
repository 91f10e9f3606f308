"""What a model's predictions cost: nats, perplexity, bits, by two named protocols, beside bounds.

    perplexity         = exp(nats / tokens)             over all tokens, `<unk>` included
    bits per character = nats / log(2) / characters     of the text as it was read

Sums are kept in float64 and divided once.
"""

import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elman.cells import State
from elman.data.batches import Ids, Rows, gather
from elman.data.cleaning import cleaning
from elman.data.corpus import Split
from elman.data.tokens import TokenSequence
from elman.errors import ConfigError, DataError
from elman.models.base import SequenceModel
from elman.models.task import TextTask

Measure = TypeVar("Measure", np.float64, np.bool_)
Protocol = Literal["carried", "reset"]
PROTOCOLS: tuple[Protocol, ...] = ("carried", "reset")
WARM = 128  # tokens that a stream reads before the first that it is scored on
LONGEST = 20_000  # tokens of a stream, when the number of streams is left open
AFFORDABLE = 2**28  # logits that a figure which need not be over a whole text may cost
CELLS_AT_ONCE = 2**22  # logits computed at a time: 16 MB


@dataclass(frozen=True)
class Score:
    """The cost of a text under a model."""

    protocol: Literal["carried", "reset", "dynamic"]
    tokens: int
    nats: float
    characters: int
    bytes: int
    unknown: int
    """Tokens that the vocabulary does not hold; they are scored as `<unk>`."""
    streams: int
    """Carried: streams the text was cut into, each warmed on the 128 tokens before it. Reset: windows."""
    window: int | None
    """Reset: steps after which the state starts anew."""

    @property
    def perplexity(self) -> float:
        """exp(nats / tokens): 1 is certainty, V is a uniform guess."""
        return perplexity(self.nats, self.tokens)

    @property
    def bits_per_character(self) -> float:
        """Bits a character of the original text."""
        return self._bits(self.characters)

    @property
    def bits_per_byte(self) -> float:
        """Bits a byte of the original text in UTF-8."""
        return self._bits(self.bytes)

    def _bits(self, units: int) -> float:
        return self.nats / math.log(2) / units if units else math.nan


def perplexity(nats: float, tokens: int) -> float:
    """exp(nats / tokens), infinite where a float cannot hold it."""
    mean = nats / tokens
    return math.exp(mean) if mean < 700 else math.inf


class Reader(typing.Protocol):
    """Whatever reads text as the tokens of a task, as every model does."""

    @property
    def task(self) -> TextTask:
        """Its vocabulary and cleaning."""


def part_of(model: Reader, text: str | Ids | Split) -> Split:
    """Any form of a text as a `Split`: ids, and the length of what they stand for in characters and bytes."""
    if isinstance(text, Split):
        return text
    vocab = model.task.vocab
    if isinstance(text, str):
        symbols = TokenSequence.read(cleaning(model.task.clean).apply([text]), vocab.level)
        ids, characters, size = model.task.turned(vocab.encode(symbols)), symbols.characters, symbols.bytes
    else:
        written = vocab.decode(model.task.turned(text))
        ids, characters = text, len(written)
        size = len(ids) if vocab.level == "byte" else len(written.encode())
    return Split("text", ids, characters, size, int((ids == 0).sum()) if vocab.unknown else 0)


def beginning(model: Reader, text: Split | Ids, tokens: int, logits: int = AFFORDABLE) -> Split:
    """The first `tokens` tokens of a text, fewer where they would cost more than `logits`, or all there are."""
    most = max(1, min(tokens, logits // model.task.size))
    ids = text.ids if isinstance(text, Split) else text
    return part_of(model, text if len(ids) <= most else ids[:most])


def evaluate(
    model: SequenceModel,
    text: str | Ids | Split,
    *,
    protocol: Protocol = "carried",
    window: int = 32,
    streams: int | None = None,
    per_token: npt.NDArray[np.float64] | None = None,
    hits: npt.NDArray[np.bool_] | None = None,
) -> Score:
    """The cost of every token of `text`, the first included.

    Args:
        model: whose predictions are scored; it is not changed.
        text: a string; or token ids or a part of a corpus, in the order in which the model reads.
        protocol: "carried" keeps one state through the whole text; "reset" starts anew every `window` tokens.
        window: steps between resets; unused when the state is carried.
        streams: carried: cut the text into that many streams, scored side by side, each warmed on the 128
            tokens before it. Left open: one stream a 20,000 tokens, so that short texts are scored exactly.
        per_token: filled with the nats of each token, (N,), -log P(token | what the protocol lets it see).
        hits: filled with whether each token, (N,), is the most probable one.

    Raises:
        ConfigError: an unknown protocol or a window under 1.
        DataError: an empty text.
    """
    part = part_of(model, text)
    runs = streams or max(1, min(256, len(part.ids) // LONGEST))
    nats = 0.0
    for rows, cost in costs(model, part.ids, protocol, window, runs, hits):
        nats += float(cost.sum())
        if per_token is not None:
            _spread(rows, cost, per_token)
    counted = (len(part.ids), nats, part.characters, part.bytes, part.unknown)
    if protocol == "reset":
        return Score(protocol, *counted, streams=-(-len(part.ids) // window), window=window)
    return Score(protocol, *counted, streams=runs, window=None)


def surprisals(
    model: SequenceModel, ids: Ids, *, protocol: Protocol = "carried", window: int = 32, streams: int = 1
) -> npt.NDArray[np.float64]:
    """The cost of each token in nats, (N,): -log P(token | what the protocol lets it see)."""
    each = np.zeros(len(ids))
    for rows, cost in costs(model, ids, protocol, window, streams):
        _spread(rows, cost, each)
    return each


def _spread(rows: Rows, values: npt.NDArray[Measure], each: npt.NDArray[Measure]) -> None:
    """Write what was measured of each target, (B, T), where it stands in the text, (N,)."""
    at = rows.starts[:, None] + np.arange(values.shape[1])
    real = at < rows.stops[:, None]
    each[at[real]] = values[real]


def costs(
    model: SequenceModel,
    ids: Ids,
    protocol: Protocol,
    window: int,
    streams: int,
    hits: npt.NDArray[np.bool_] | None = None,
) -> Iterator[tuple[Rows, npt.NDArray[np.float64]]]:
    """Rows of targets and their cost in nats, (B, T), in float64, until every token was a target once.

    `hits`, (N,), is filled with which of them are the most probable ones.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"there is no protocol {protocol!r}: choose {' or '.join(PROTOCOLS)}")
    if len(ids) == 0:
        raise DataError("there is nothing to score: the text has no tokens")
    if window < 1:
        raise ConfigError(f"a window of {window} steps: it needs at least one")
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
            cost = model.task.surprisals(logits, targets).cpu().numpy()
            if hits is not None:
                _spread(row, (logits.argmax(-1) == targets).cpu().numpy(), hits)
        yield row, cost


def _carried(n: int, streams: int, size: int) -> Iterator[Rows]:
    edges = np.arange(streams + 1) * n // streams
    longest = int(np.diff(edges).max())
    step = max(1, min(1024, CELLS_AT_ONCE // (streams * size)))
    for start in range(0, longest, step):
        stops = np.minimum(edges[:-1] + start + step, edges[1:])
        yield Rows(np.minimum(edges[:-1] + start, stops), stops, fresh=start == 0)


def _reset(n: int, window: int, size: int) -> Iterator[Rows]:
    edges = np.minimum(np.arange(0, n + window, window), n)
    edges = edges[: -(-n // window) + 1]
    rows = max(1, min(64, CELLS_AT_ONCE // (window * size)))
    for first in range(0, len(edges) - 1, rows):
        chosen = edges[first : first + rows + 1]
        yield Rows(chosen[:-1], chosen[1:], fresh=True)


def _warmed(model: SequenceModel, ids: Ids, starts: npt.NDArray[np.int64], warm: int) -> State:
    """The states of streams that begin at `starts`, after reading up to `warm` tokens before each."""
    cold = model.initial(len(starts))
    late = np.flatnonzero(starts > 0)
    if not warm or not len(late):
        return cold
    length = min(warm, int(starts[late].min()))
    inputs, _ = gather(ids, Rows(starts[late] - length, starts[late], fresh=True))
    state = model.initial(len(late))
    for chunk in torch.from_numpy(inputs).split(max(1, CELLS_AT_ONCE // (len(late) * model.task.size)), 1):
        _, state = model(chunk.to(cold[0].device), state)
    return tuple(_replace(old, late, new) for old, new in zip(cold, state, strict=True))


def _replace(old: Tensor, rows: npt.NDArray[np.int64], new: Tensor) -> Tensor:
    return old.clone().index_copy_(0, torch.from_numpy(rows).to(old.device), new)
