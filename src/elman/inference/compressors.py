"""The compressors that everybody has at hand, as models of text: what they make of it, in bits a character.

    alone             8 * len(C(held-out)) / characters
    after training    8 * (len(C(training + held-out)) - len(C(training))) / characters

A compressor is a model whose predictions were turned into bits (Shannon 1948), so the two scales are one.
"""

import bz2
import lzma
from collections.abc import Callable, Iterable

from elman.data.corpus import Split
from elman.data.vocab import Vocab

LARGEST = 20_000_000  # bytes of training text that are compressed, its last ones: half a minute

Compressor = Callable[[bytes], bytes]
COMPRESSORS: dict[str, Compressor] = {
    "xz": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
    "bz2": lambda data: bz2.compress(data, 9),
}
"""By name: `xz -9e`, whose dictionary is 64 MB, and `bz2 -9`, which sorts blocks of 900 kB."""
CONTAINER = {name: len(compress(b"")) for name, compress in COMPRESSORS.items()}
"""Bytes that each writes for an empty text."""


def written(vocab: Vocab, part: Split, most: int = LARGEST) -> bytes:
    """The text of a part in UTF-8 as models see it, cleaned, with unknown symbols: the last `most` bytes or so."""
    tokens = len(part.ids) if part.bytes <= most else len(part.ids) * most // part.bytes
    return vocab.decode_bytes(part.ids[len(part.ids) - tokens :])


def sizes(held_out: bytes, training: bytes | None = None, names: Iterable[str] = tuple(COMPRESSORS)) -> dict[str, int]:
    """Bytes that compressors need for the held-out text: alone, and after the training text if there is one.

    Example:
        >>> made = sizes(b"abracadabra" * 9, b"abracadabra" * 9)
        >>> made["xz"] > made["xz after training"]
        True
    """
    found = {}
    for name in names:
        compress = COMPRESSORS[name]
        found[name] = len(compress(held_out))
        if training is not None:
            found[f"{name} after training"] = len(compress(training + held_out)) - len(compress(training))
    return found
