"""The compressors of the standard library as models of text: their bits, comparable with a model's.

    alone             8 * len(C(held-out)) / characters
    after training    8 * (len(C(training + held-out)) - len(C(training))) / characters

A compressor is a model whose predictions were turned into bits (Shannon 1948), so the two scales are one. It is given
the text itself, as a model's bits pay for the text itself (`elman.inference.lossless`).
"""

import bz2
import lzma
import math
from collections.abc import Callable, Iterable

from elman.data.corpus import Split
from elman.data.vocab import Vocab

MAX_TRAINING_BYTES = 20_000_000  # of the training text that are compressed, its last ones: half a minute

Compressor = Callable[[bytes], bytes]
PIECE = 1 << 16


def _in_pieces(compressor: lzma.LZMACompressor, data: bytes) -> bytes:
    """The same bytes as in one call, which no signal could end: megabytes take seconds."""
    pieces = [compressor.compress(data[at : at + PIECE]) for at in range(0, len(data), PIECE)]
    return b"".join([*pieces, compressor.flush()])


COMPRESSORS: dict[str, Compressor] = {
    "xz": lambda data: _in_pieces(lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME), data),
    "bz2": lambda data: bz2.compress(data, 9),
}
"""By name: `xz -9e`, whose dictionary is 64 MB, and `bz2 -9`, which sorts blocks of 900 kB."""
EMPTY_SIZES = {name: len(compress(b"")) for name, compress in COMPRESSORS.items()}
"""Bytes that each writes for an empty text: its container."""


def training_bytes(vocab: Vocab, split: Split, max_bytes: int = MAX_TRAINING_BYTES) -> bytes:
    """The end of a training text in UTF-8.

    Args:
        vocab: turns ids into text.
        split: the training part of a corpus.
        max_bytes: about how many bytes to return, the last ones.

    Returns:
        The text; all of it where it is no longer than that.
    """
    if split.bytes > max_bytes:
        split = split.last_of_text(max(1, len(split.ids) * max_bytes // split.bytes), vocab)
    return split.text_bytes(vocab)


def nats_of_tokens(size: int, other_bits: float) -> float:
    """The nats that a model of the tokens has where it needs as many bits as a compressor.

        nats = (8 * size - other bits) * log(2)

    Args:
        size: bytes of the compressed text.
        other_bits: what the model spends on what is not in the tokens.

    Returns:
        Nats; below 0 where no model of these tokens needs so few bits.
    """
    return (8 * size - other_bits) * math.log(2)


def compressed_sizes(
    held_out: bytes, training: bytes | None = None, names: Iterable[str] = tuple(COMPRESSORS)
) -> dict[str, int]:
    """How small compressors make a text.

    Args:
        held_out: the text.
        training: a text that precedes it, if there is one.
        names: keys of `COMPRESSORS`.

    Returns:
        Bytes by compressor: of the held-out text alone ("xz"), and what it adds to those of the training text
        ("xz after training"), at least 0.

    Example:
        >>> sizes = compressed_sizes(b"abracadabra" * 9, b"abracadabra" * 9)
        >>> sizes["xz"] > sizes["xz after training"]
        True
    """
    sizes = {}
    for name in names:
        compress = COMPRESSORS[name]
        sizes[name] = len(compress(held_out))
        if training is not None:
            # A longer text can come out shorter, by a few bytes where the end of a block moves.
            sizes[f"{name} after training"] = max(0, len(compress(training + held_out)) - len(compress(training)))
    return sizes
