"""Lossless compression by any model: its predictions turned into bits, and back.

    bits of the file = sum_t -log2 P(token_t | tokens before)        what `evaluate` reports
                       + what is not in the tokens (`elman.inference.lossless`) + a header + less than 32 bits

A reader that predicts each token as well as the writer did needs only what the prediction left open (Shannon 1948;
range coding, Martin 1979, by the library constriction). Encoding and decoding are one loop below: the coder either
writes the symbols that it is given or reads them, and all else is the same computation in the same order, on one
thread, down to the last bit.
"""

import codecs
import math
import platform
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, overload

import numpy as np
import numpy.typing as npt
import torch

from elman.arguments import checked
from elman.cells import State
from elman.data.batches import START
from elman.environment import same_threads, version
from elman.errors import ConfigError, ModelError
from elman.inference.container import MARKED, MAX_STREAMS, VERSION, Container, sha256
from elman.inference.lossless import (
    BEGINNING,
    COUNT_INCREMENT,
    END,
    SPELLING,
    SURROGATE,
    LosslessTokens,
    gap_context,
    token_bytes,
    unknown_id,
)
from elman.models.base import SequenceModel
from elman.models.ngram.expert_sets import by_definition
from elman.models.saving import identity

STREAM_TOKENS: Final = 5_000
"""Tokens of a stream: each begins without a past, which cost 7 to 15 bits on a book, 0.1 % of what 5,000 take."""
STREAM_BITS: Final = 3_000
"""Bits of a stream, at the least: 15 of them are 0.5 %. What takes fewer is coded again in fewer streams."""
MAX_PROBABILITIES: Final = 2**22
"""Probabilities computed at a time, at the most."""
PROBE_STEPS: Final = 8
"""Steps whose predictions are digested."""

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
OnProgress = Callable[[int, int], None]
"""Called with the number of tokens done, and of all tokens."""


@dataclass(frozen=True)
class Compressed:
    """A compressed file, and what its bits were used for."""

    data: bytes
    """The file."""
    header: int
    """Bytes of it that describe it, its checksum included."""
    length: int
    """Bytes of the original."""
    characters: int
    """Characters of the original; a byte that is not UTF-8 counts as one."""
    tokens: int
    """Tokens of the original."""
    streams: int
    """Streams that the tokens were cut into; 0 where the original is stored, because coding would make it longer."""
    model_bits: float
    """Bits of the tokens by the model's own probabilities, before anything is rounded: nats / log(2)."""
    other_bits: float
    """Bits of white space between words, of symbols that are not in the vocabulary, and of a byte order mark."""

    @property
    def bits_per_character(self) -> float:
        """Bits of the whole file per character of the original."""
        return 8 * len(self.data) / self.characters if self.characters else math.nan

    @property
    def coding_bits(self) -> float:
        """Bits that coding added by rounding: those of the body, less those of the model and the others."""
        return 8 * (len(self.data) - self.header) - self.model_bits - self.other_bits


@overload
def compress(
    model: SequenceModel, data: bytes, *, details: Literal[False] = False, on_progress: OnProgress | None = None
) -> bytes: ...


@overload
def compress(
    model: SequenceModel, data: bytes, *, details: Literal[True], on_progress: OnProgress | None = None
) -> Compressed: ...


@checked
def compress(
    model: SequenceModel, data: bytes, *, details: bool = False, on_progress: OnProgress | None = None
) -> bytes | Compressed:
    """The bytes of a file, compressed; the same model on the same machine gives them back.

    Args:
        model: predicts the tokens; it is not changed.
        data: any bytes. Symbols that are not in the vocabulary are written byte by byte; what coding would make
            longer is stored as it is.
        details: return what the bits were used for as well.
        on_progress: called after each step with the number of tokens done, and of all tokens.

    Returns:
        The compressed file; with `details` a `Compressed`, whose `data` it is.

    Raises:
        DataError: the model's cleaning would change the text.
        ModelError: the model predicts NaN or infinity.
        ConfigError: constriction is not installed.

    Example:
        >>> import elman
        >>> vocab = elman.Vocab.chars("abracadabra")
        >>> model = elman.NGram.fit(elman.TextTask(vocab), vocab.encode("abracadabra" * 9), order=4)
        >>> blob = compress(model, b"abracadabra" * 100)
        >>> len(blob) < 200, decompress(model, blob) == b"abracadabra" * 100
        (True, True)
    """
    text = LosslessTokens.encode(data, model.task.vocab, model.task.normalize)
    n, fingerprint = len(text.ids), platform_fingerprint(model)
    streams = max(1, min(MAX_STREAMS, n // STREAM_TOKENS, MAX_PROBABILITIES // model.task.size))
    body, bits = encode_body(model, text, streams, on_progress)
    bits_of_all = sum(bits.values())
    if streams * STREAM_BITS > bits_of_all and streams > 1:
        streams = max(1, int(bits_of_all // STREAM_BITS))
        body, bits = encode_body(model, text, streams, on_progress)
    predictions = prediction_digest(model, streams)
    if len(body) >= len(data):
        body, predictions, streams = data, bytes(8), 0
    version = MARKED if text.marked and streams else VERSION
    digests = (sha256(data)[:16], model_digest(model), predictions)
    container = Container(len(data), n, streams, *digests, fingerprint, body, version)
    blob = container.to_bytes()
    if not details:
        return blob
    characters = len(data.decode("utf-8", SURROGATE))
    header = len(blob) - len(body)
    return Compressed(blob, header, len(data), characters, n, streams, bits["model"], bits["other"])


def compressed(model: SequenceModel, data: bytes, told: OnProgress | None = None) -> Compressed:
    """Deprecated: `compress(model, data, details=True)`."""
    warnings.warn(
        "elman.compressed is deprecated: use elman.compress(..., details=True)", DeprecationWarning, stacklevel=2
    )
    return compress(model, data, details=True, on_progress=told)


@checked
def decompress(model: SequenceModel, data: bytes, on_progress: OnProgress | None = None) -> bytes:
    """The original bytes of what `compress` wrote.

    Args:
        model: the one that compressed it.
        data: the compressed file.
        on_progress: called after each step with the number of tokens done, and of all tokens.

    Returns:
        The original, byte for byte.

    Raises:
        DataError: the file is damaged, cut short, or was not written by `compress`.
        ModelError: another model compressed it.
        ConfigError: other programs or another machine did, or constriction is not installed.
    """
    container = Container.from_bytes(data)
    earlier = not set(model.numerics) <= set(container.platform)
    with by_definition() if earlier else nullcontext():
        return _decompressed(model, container, on_progress)


def _decompressed(model: SequenceModel, container: Container, on_progress: OnProgress | None) -> bytes:
    """The original bytes."""
    container.check_reader(model_digest(model), model.name, platform_fingerprint(model))
    if not container.streams:
        return container.check_original(container.body)
    container.check_predictions(prediction_digest(model, container.streams))
    text = decode_body(
        model,
        container.body,
        container.tokens,
        container.streams,
        container.length,
        on_progress,
        reads_unknown=container.version == 1,
        marked=container.version == MARKED,
    )
    return container.check_original(None if text is None else text.decode(token_bytes(model.task.vocab)))


def encode_body(
    model: SequenceModel, text: LosslessTokens, streams: int, on_progress: OnProgress | None = None
) -> tuple[bytes, dict[str, float]]:
    """Encode a text, without a header.

    Args:
        model: predicts the tokens.
        text: the tokens, and what is not in them.
        streams: how many pieces of equal length are coded side by side, >= 1.
        on_progress: called after each step with the number of tokens done, and of all tokens.

    Returns:
        The bits, in bytes; how many bits were used for the `model`'s tokens and for `other` things.
    """
    coder = _Encoder()
    with single_threaded():
        _code_streams(model, coder, text, streams, math.inf, on_progress)
    return coder.body(), coder.bits


def decode_body(
    model: SequenceModel,
    body: bytes,
    tokens: int,
    streams: int,
    length: int,
    on_progress: OnProgress | None = None,
    *,
    reads_unknown: bool = False,
    marked: bool = False,
) -> LosslessTokens | None:
    """Decode a text that `encode_body` encoded.

    Args:
        model: predicts the tokens as it did when the text was encoded.
        body: the bits, in bytes.
        tokens: how many tokens the text has.
        streams: how many pieces they were coded in.
        length: bytes of the text; more are never decoded.
        on_progress: called after each step with the number of tokens done, and of all tokens.
        reads_unknown: whether a model without `<unk>` read unknown tokens as token 0, rather than passing over them.
        marked: whether a byte order mark stands before the text.

    Returns:
        The text; None, or another text, where the model predicts other numbers.
    """
    text = LosslessTokens.empty(tokens, model.task.vocab)
    text.marked = marked
    try:
        with single_threaded():
            _code_streams(model, _Decoder(body), text, streams, length, on_progress, reads_unknown=reads_unknown)
    except DesyncError:
        return None
    return text


class _Coder(Protocol):
    """Writes symbols, or reads them."""

    def __call__(self, weights: Float64Array, symbols: Int64Array, purpose: str) -> Int64Array:
        """One symbol for each row of weights (N, V), which need not add up to 1; a decoder ignores `symbols`."""


class DesyncError(Exception):
    """What is read cannot be what was written."""


def _code_streams(
    model: SequenceModel,
    code: _Coder,
    text: LosslessTokens,
    streams: int,
    length: float,
    on_progress: OnProgress | None,
    *,
    reads_unknown: bool = False,
) -> None:
    """Write the text, or fill it in: token by token in the order in which the model reads, all streams in turn."""
    n, vocab = len(text.ids), model.task.vocab
    names, code_known = token_bytes(vocab), _KnownFlags()
    unknown = unknown_id(vocab)
    code_bytes = EscapeCoder(code, length)
    if text.marked:
        code_bytes(BEGINNING, codecs.BOM_UTF8)
    order, backward = model.task.reading_order(np.arange(n)), int(model.task.reverse)
    steps = -(-n // streams)
    previous = [b""] * streams
    step, state = model.stepper(), model.initial(streams)
    inputs = torch.full((streams,), START)
    for t in range(steps):
        before = tuple(tensor.clone() for tensor in state) if unknown < 0 else state
        p, state = _predict(step, inputs, state)
        places = order[t::steps]  # of token t of every stream that has not ended, (B,)
        p, ids = p[: len(places)], text.ids[places]
        known = code_known(code, ids >= 0) if unknown < 0 else np.ones(len(places), bool)
        ids[known] = code(p[known], ids[known], "model")
        ids[~known] = unknown
        text.ids[places] = ids
        for place in places[ids == unknown].tolist():
            text.escapes[place] = code_bytes(SPELLING, text.escapes.get(place, b""))
        if text.whitespace:
            for row, place in enumerate(places.tolist()):
                token, gap = text.token_at(place, names), place + backward
                text.whitespace[gap] = code_bytes(
                    (gap_context(previous[row]), gap_context(token)), text.whitespace[gap]
                )
                previous[row] = token
        read = torch.from_numpy(np.maximum(ids, START))
        if unknown < 0 and not reads_unknown and not known.all():  # as `evaluate`, which leaves these tokens out
            passed = torch.from_numpy(np.flatnonzero(~known))
            state = tuple(_restored(new, old, passed, streams) for new, old in zip(state, before, strict=True))
            read[passed] = inputs[passed]
        inputs[: len(places)] = read
        if on_progress:
            on_progress(min(n, (t + 1) * streams), n)
    if text.whitespace:
        gap = 0 if backward else n
        text.whitespace[gap] = code_bytes((gap_context(previous[-1]), b""), text.whitespace[gap])


def _restored(new: torch.Tensor, old: torch.Tensor, rows: torch.Tensor, streams: int) -> torch.Tensor:
    """A state with some rows as they were; what has no row a stream is left as it is."""
    if new.shape[:1] != (streams,):
        return new
    rows = rows.to(new.device)
    return new.index_copy(0, rows, old[rows])


def _predict(step: Callable[..., Any], inputs: torch.Tensor, state: State) -> tuple[Float64Array, State]:
    """Probabilities (B, V) of the token after each input, in float64 and before rounding, and the next state."""
    logits, state = step(inputs.to(state[0].device), state)
    return torch.softmax(logits.cpu().double(), -1).numpy(), state


class EscapeCoder:
    """Codes bytes by how often each followed the one before it; the counts grow while it codes.

    Args:
        coder: writes or reads symbols.
        length: most bytes to code in all; a decoder that passes it has lost its place.
    """

    def __init__(self, coder: _Coder, length: float) -> None:
        self._coder, self._bytes_left = coder, length
        self._weights: defaultdict[Hashable, Float64Array] = defaultdict(lambda: np.ones(END + 1))

    def __call__(self, context: Hashable, data: bytes) -> bytes:
        """Code a string of bytes and its end.

        Args:
            context: predicts the first byte.
            data: the bytes; a decoder ignores them.

        Returns:
            The bytes.

        Raises:
            DesyncError: they are more than the file has; without this a wrong machine would decode for ever.
        """
        found = bytearray()
        while True:
            weights = self._weights[found[-1] if found else context]
            wanted = data[len(found)] if len(found) < len(data) else END
            symbol = int(self._coder(weights[None], np.array([wanted]), "other")[0])
            weights[symbol] += COUNT_INCREMENT
            if symbol == END:
                return bytes(found)
            found.append(symbol)
            self._bytes_left -= 1
            if self._bytes_left < 0:
                raise DesyncError


class _KnownFlags:
    """Which tokens are in a vocabulary without `<unk>`, by how many were so far (Krichevsky and Trofimov 1981)."""

    def __init__(self) -> None:
        self._weights = np.array([0.5, 0.5])

    def __call__(self, code: _Coder, known: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        weights = np.tile(self._weights, (len(known), 1))
        found = code(weights, known.astype(np.int64), "other").astype(bool)
        self._weights += np.bincount(found, minlength=2)
        return found


class _Encoder:
    """Writes symbols, and adds up their bits by the weights as they were given."""

    def __init__(self) -> None:
        library = _library()
        self._coder = library.queue.RangeEncoder()
        self._family = library.model.Categorical(perfect=False)
        self.bits = {"model": 0.0, "other": 0.0}

    def __call__(self, weights: Float64Array, symbols: Int64Array, purpose: str) -> Int64Array:
        if weights.shape[1] == 1:  # the only symbol there is takes no bits
            return symbols
        try:
            self._coder.encode(symbols.astype(np.int32), self._family, weights)
        except ValueError as error:
            raise ModelError("the model predicts NaN or infinity: use an earlier checkpoint") from error
        with np.errstate(divide="ignore"):
            self.bits[purpose] -= float(np.log2(weights[np.arange(len(symbols)), symbols] / weights.sum(1)).sum())
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

    def __call__(self, weights: Float64Array, symbols: Int64Array, purpose: str) -> Int64Array:  # noqa: ARG002 - protocol
        if weights.shape[1] == 1:
            return np.zeros(len(weights), np.int64)
        try:
            found: Int64Array = self._coder.decode(self._family, weights).astype(np.int64)
        except (ValueError, AssertionError) as error:
            raise DesyncError from error
        return found


def _library() -> Any:
    """The module `stream` of constriction.

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
    """Without gradients, on one thread: how several threads share a product can change its last bits."""
    with same_threads(), torch.inference_mode():
        torch.set_num_threads(1)
        yield


def model_digest(model: SequenceModel) -> bytes:
    """8 bytes that identify a model: its kind, settings, vocabulary, cleaning, direction and every parameter."""
    parts = [identity(model), model.task.vocab.to_json()]
    digests = b"\n".join(sha256(part.encode()) for part in parts)
    for name, tensor in sorted(model.tensors().items()):
        flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        digests += sha256(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + flat.tobytes())
    return sha256(digests)[:8]


def platform_fingerprint(model: SequenceModel) -> tuple[str, ...]:
    """The programs and the machine that compute here, in the order of `elman.inference.container.PLATFORM`."""
    _library()  # if it is missing, that is the error to report
    versions = [version(name) or "" for name in ("elman", "torch", "numpy", "constriction")]
    machine = (platform.machine(), torch.backends.cpu.get_cpu_capability(), model.initial(1)[0].device.type)
    return tuple(value[:30] for value in (*versions, *machine, *model.numerics))


def prediction_digest(model: SequenceModel, streams: int) -> bytes:
    """Identify the numbers that a model predicts on this machine.

    Args:
        model: predicts after `PROBE_STEPS` fixed tokens.
        streams: rows predicted at a time.

    Returns:
        8 bytes.
    """
    with single_threaded():
        step, state = model.stepper(), model.initial(streams)
        digests = b""
        for t in range(PROBE_STEPS):
            p, state = _predict(step, (torch.arange(streams) + t) % model.task.size, state)
            digests += sha256(p.tobytes())
    return sha256(digests)[:8]
