"""Lossless compression by any model: its predictions turned into bits, and back.

    bits of the file = sum_t -log2 P(token_t | tokens before)        what `evaluate` reports
                       + what the tokens leave out (`elman.inference.lossless`) + a header + less than 32 bits

Whoever predicts each token as well as the writer did needs only what the prediction left open (Shannon 1948; range
coding, Martin 1979, by the library constriction). Writing and reading are one walk below: the coder either writes the
symbols that it is given or reads them, and all else is the same computation in the same order, on one thread, down to
the last bit.
"""

import math
import platform
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import torch

from elman.cells import State
from elman.data.batches import START
from elman.environment import same_threads, version
from elman.errors import ConfigError, ModelError
from elman.inference.container import MOST_STREAMS, Container, digest
from elman.inference.lossless import SURROGATE, LosslessTokens, missing, token_bytes
from elman.models.base import SequenceModel
from elman.models.saving import identity

A_STREAM: Final = 5_000
"""Tokens of a stream: each begins without a past, which cost 7 to 15 bits on a book, 0.1 % of what 5,000 take."""
AT_ONCE: Final = 2**22
"""Probabilities computed at a time, at the most."""
PROBED: Final = 8
"""Steps whose predictions are digested."""
END: Final = 256
"""The symbol after the last byte of what is spelt."""
LEARNT: Final = 32.0
"""What an occurrence adds to the weight of a symbol, where one that never occurred has 1."""

Numbers = npt.NDArray[np.float64]
Symbols = npt.NDArray[np.int64]
Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Compressed:
    """A compressed file, and what its bits went to."""

    data: bytes
    """The file."""
    header: int
    """Bytes of it that say what it is, its checksum included."""
    length: int
    """Bytes of the original."""
    characters: int
    """Characters of the original; a byte that is not UTF-8 counts as one."""
    tokens: int
    streams: int
    """That the tokens were cut into; 0 where the original is stored, because coding would make it longer."""
    model_bits: float
    """Those of the tokens by the model's own probabilities, before anything is rounded: nats / log(2)."""
    other_bits: float
    """Those of white space between words and of symbols that the vocabulary lacks."""

    @property
    def bits_per_character(self) -> float:
        """Bits of the whole file a character of the original."""
        return 8 * len(self.data) / self.characters if self.characters else math.nan

    @property
    def coding_bits(self) -> float:
        """What coding added by rounding: the bits of the body, less those of the model and the others."""
        return 8 * (len(self.data) - self.header) - self.model_bits - self.other_bits


def _silent(done: int, of: int) -> None:
    """Told how many of the tokens are done."""


def compress(model: SequenceModel, data: bytes) -> bytes:
    """The bytes of a file, compressed; the same model on the same machine gives them back.

    Args:
        model: predicts the tokens; it is not changed.
        data: any bytes. What the vocabulary lacks is spelt; what coding would make longer is stored as it is.

    Raises:
        DataError: the text is not as the model's cleaning leaves it.
        ModelError: a prediction is no distribution.
        ConfigError: the library that codes is not installed.

    Example:
        >>> import elman
        >>> vocab = elman.Vocab.chars("abracadabra")
        >>> model = elman.NGram.fit(elman.TextTask(vocab), vocab.encode("abracadabra" * 9), order=4)
        >>> blob = compress(model, b"abracadabra" * 100)
        >>> len(blob) < 200, decompress(model, blob) == b"abracadabra" * 100
        (True, True)
    """
    return compressed(model, data).data


def compressed(model: SequenceModel, data: bytes, told: Told = _silent) -> Compressed:
    """The same with its figures; `told` hears how many of how many tokens are done."""
    text = LosslessTokens.encode(data, model.task.vocab, model.task.clean)
    n, made = len(text.ids), platform_fingerprint(model)
    streams = max(1, min(MOST_STREAMS, n // A_STREAM, AT_ONCE // model.task.size))
    body, bits = encoded(model, text, streams, told)
    predictions = _predictions(model, streams)
    if len(body) >= len(data):
        body, predictions, streams = data, bytes(8), 0
    whole = Container(len(data), n, streams, digest(data)[:16], digest_of(model), predictions, made, body).to_bytes()
    characters = len(data.decode("utf-8", SURROGATE))
    header = len(whole) - len(body)
    return Compressed(whole, header, len(data), characters, n, streams, bits["model"], bits["other"])


def decompress(model: SequenceModel, data: bytes, told: Told = _silent) -> bytes:
    """The original bytes of what `compress` wrote.

    Raises:
        DataError: the file is damaged, cut short or no such file.
        ModelError: another model compressed it.
        ConfigError: other programs or another machine did, or the library that codes is not installed.
    """
    found = Container.from_bytes(data)
    found.check_reader(digest_of(model), model.name, platform_fingerprint(model))
    if not found.streams:
        return found.checked(found.body)
    found.check_predictions(_predictions(model, found.streams))
    text = decoded(model, found.body, found.tokens, found.streams, found.length, told)
    return found.checked(None if text is None else text.decode(token_bytes(model.task.vocab)))


def encoded(
    model: SequenceModel, text: LosslessTokens, streams: int, told: Told = _silent
) -> tuple[bytes, dict[str, float]]:
    """A text in bits, without a header, and how many were for the model's tokens and for other things."""
    code = _Encoder()
    with single_threaded():
        _code_stream(model, code, text, streams, math.inf, told)
    return code.body(), code.bits


def decoded(
    model: SequenceModel, body: bytes, tokens: int, streams: int, length: int, told: Told = _silent
) -> LosslessTokens | None:
    """The text of `length` bytes that was encoded; None, or another text, where the model predicts otherwise here."""
    text = LosslessTokens.empty(tokens, model.task.vocab)
    try:
        with single_threaded():
            _code_stream(model, _Decoder(body), text, streams, length, told)
    except DesyncError:
        return None
    return text


class _Code(Protocol):
    """Writes symbols, or reads them."""

    def __call__(self, weights: Numbers, symbols: Symbols, kind: str) -> Symbols:
        """One symbol a row of weights (N, V), which need not add up to 1; a reader does not look at `symbols`."""


class DesyncError(Exception):
    """What is read cannot be what was written."""


def _code_stream(
    model: SequenceModel, code: _Code, text: LosslessTokens, streams: int, length: float, told: Told
) -> None:
    """Write the text, or fill it in: token by token in the order in which the model reads, all streams in turn."""
    n, vocab = len(text.ids), model.task.vocab
    names, escapes = token_bytes(vocab), _Escapes()
    lacking = missing(vocab)
    spell = EscapeCoder(code, length)
    places, back = model.task.turned(np.arange(n)), int(model.task.reverse)
    steps = -(-n // streams)
    before = [b""] * streams
    step, state = model.stepper(), model.initial(streams)
    fed = torch.full((streams,), START)
    for t in range(steps):
        p, state = _predicted(step, fed, state)
        here = places[t::steps]  # token t of every stream that is not over, (B,)
        p, ids = p[: len(here)], text.ids[here]
        known = escapes(code, ids >= 0) if lacking < 0 else np.ones(len(here), bool)
        ids[known] = code(p[known], ids[known], "model")
        ids[~known] = lacking
        text.ids[here] = ids
        for place in here[ids == lacking].tolist():
            text.escapes[place] = spell("symbol", text.escapes.get(place, b""))
        if text.whitespace:
            for row, place in enumerate(here.tolist()):
                token, at = text.written(place, names), place + back
                text.whitespace[at] = spell((_side(before[row]), _side(token)), text.whitespace[at])
                before[row] = token
        fed[: len(here)] = torch.from_numpy(np.maximum(ids, START))
        told(min(n, (t + 1) * streams), n)
    if text.whitespace:
        end = 0 if back else n
        text.whitespace[end] = spell((_side(before[-1]), b""), text.whitespace[end])


def _predicted(step: Callable[..., Any], fed: torch.Tensor, state: State) -> tuple[Numbers, State]:
    """Probabilities (B, V) of the token after each of `fed`, in float64 and before rounding, and the next state."""
    logits, state = step(fed.to(state[0].device), state)
    return torch.softmax(logits.double().cpu(), -1).numpy(), state


def _side(token: bytes) -> bytes:
    """What the spacing beside a word depends on: letters are alike, other characters are not."""
    return b"a" if token[:1].isalnum() or token[:1] >= b"\x80" else token[:1]


class EscapeCoder:
    """Bytes by how often each followed the one before it, beginning with a context; the counts grow on the way."""

    def __init__(self, code: _Code, length: float) -> None:
        self._code, self._left = code, length
        self._weights: defaultdict[Hashable, Numbers] = defaultdict(lambda: np.ones(END + 1))

    def __call__(self, context: Hashable, wanted: bytes) -> bytes:
        """Code the bytes `wanted`, which a reader need not know; the bytes."""
        found = bytearray()
        while True:
            weights = self._weights[found[-1] if found else context]
            asked = wanted[len(found)] if len(found) < len(wanted) else END
            symbol = int(self._code(weights[None], np.array([asked]), "other")[0])
            weights[symbol] += LEARNT
            if symbol == END:
                return bytes(found)
            found.append(symbol)
            self._left -= 1
            if self._left < 0:  # more bytes than the file has: without this, a wrong machine would spell for ever
                raise DesyncError


class _Escapes:
    """Which tokens a vocabulary without `<unk>` holds, by how many it held so far (Krichevsky and Trofimov 1981)."""

    def __init__(self) -> None:
        self._weights = np.array([0.5, 0.5])

    def __call__(self, code: _Code, known: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        weights = np.tile(self._weights, (len(known), 1))
        found = code(weights, known.astype(np.int64), "other").astype(bool)
        self._weights += np.bincount(found, minlength=2)
        return found


class _Encoder:
    """Writes symbols, and counts what they cost by the weights as they were given."""

    def __init__(self) -> None:
        library = _library()
        self._coder = library.queue.RangeEncoder()
        self._family = library.model.Categorical(perfect=False)
        self.bits = {"model": 0.0, "other": 0.0}

    def __call__(self, weights: Numbers, symbols: Symbols, kind: str) -> Symbols:
        if weights.shape[1] == 1:  # the only symbol there is takes no bits
            return symbols
        try:
            self._coder.encode(symbols.astype(np.int32), self._family, weights)
        except ValueError as error:
            raise ModelError("the model predicts NaN or infinity: use an earlier checkpoint") from error
        with np.errstate(divide="ignore"):
            self.bits[kind] -= float(np.log2(weights[np.arange(len(symbols)), symbols] / weights.sum(1)).sum())
        return symbols

    def body(self) -> bytes:
        """All that was written."""
        return bytes(self._coder.get_compressed().astype("<u4").tobytes())


class _Decoder:
    """Reads what an encoder wrote."""

    def __init__(self, body: bytes) -> None:
        library = _library()
        if len(body) % 4:
            raise DesyncError
        self._coder = library.queue.RangeDecoder(np.frombuffer(body, "<u4").astype(np.uint32))
        self._family = library.model.Categorical(perfect=False)

    def __call__(self, weights: Numbers, symbols: Symbols, kind: str) -> Symbols:  # noqa: ARG002 - the protocol's
        if weights.shape[1] == 1:
            return np.zeros(len(weights), np.int64)
        try:
            found: Symbols = self._coder.decode(self._family, weights).astype(np.int64)
        except (ValueError, AssertionError) as error:
            raise DesyncError from error
        return found


def _library() -> Any:
    """The streams of constriction.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import constriction
    except ImportError as error:
        raise ConfigError('compressing needs constriction: pip install "elman[compress]"') from error
    return constriction.stream


@contextmanager
def single_threaded() -> Iterator[None]:
    """Without gradients, on one thread: how several share a product can change its last bits."""
    with same_threads(), torch.inference_mode():
        torch.set_num_threads(1)
        yield


def digest_of(model: SequenceModel) -> bytes:
    """8 bytes that stand for a model: kind, settings, vocabulary, cleaning, direction and every number of it."""
    parts = [identity(model), model.task.vocab.to_json()]
    whole = b"\n".join(digest(part.encode()) for part in parts)
    for name, tensor in sorted(model.tensors().items()):
        flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        whole += digest(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + flat.tobytes())
    return digest(whole)[:8]


def platform_fingerprint(model: SequenceModel) -> tuple[str, ...]:
    """What computes here, in the order of `MADE_BY`."""
    _library()  # if it is missing, that is what to say
    versions = [version(name) or "" for name in ("elman", "torch", "numpy", "constriction")]
    machine = (platform.machine(), torch.backends.cpu.get_cpu_capability(), model.initial(1)[0].device.type)
    return tuple(value[:30] for value in (*versions, *machine))


def _predictions(model: SequenceModel, streams: int) -> bytes:
    """8 bytes that stand for what a model predicts after its first tokens, whatever those are."""
    with single_threaded():
        step, state = model.stepper(), model.initial(streams)
        seen = b""
        for t in range(PROBED):
            p, state = _predicted(step, (torch.arange(streams) + t) % model.task.size, state)
            seen += digest(p.tobytes())
    return digest(seen)[:8]
