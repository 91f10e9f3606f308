"""Text from token ids that come one at a time."""

import codecs
from collections.abc import Sequence
from typing import Final, Protocol

from elman.data.tokens import NEWLINE, Level, separator

UNKNOWN: Final = "<unk>"
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
"""How an unknown character is written, so that a text keeps its length; an unknown word is `<unk>`."""


class Decodable(Protocol):
    """The part of a vocabulary that decoding needs."""

    @property
    def level(self) -> Level:
        """What a token is."""

    def to_tokens(self, ids: int) -> str:
        """The token of an id."""

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of ids at level byte."""


class IncrementalDecoder:
    """Text from ids one at a time; all pieces together are what decoding the ids at once gives.

    Where a prompt is continued, push its ids first and drop the pieces: the space before the next word, or the rest
    of a character that the prompt began, then comes with the continuation.

    Args:
        vocab: the vocabulary of the ids.
    """

    def __init__(self, vocab: Decodable) -> None:
        self._vocab = vocab
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
        self._before = NEWLINE

    def push(self, id_: int) -> str:
        """The text that an id adds; "" while a character of several bytes is incomplete."""
        if self._vocab.level == "byte":
            return self._bytes.decode(self._vocab.decode_bytes([id_]))
        if self._vocab.level == "char":
            character = self._vocab.to_tokens(id_)
            return REPLACEMENT if character == UNKNOWN else character
        word = self._vocab.to_tokens(id_)
        gap, self._before = separator(self._before, word), word
        return gap + word

    def flush(self) -> str:
        """The end of the text: U+FFFD where the last character is incomplete, else ""."""
        return self._bytes.decode(b"", final=True)
