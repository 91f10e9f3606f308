"""From ids to text, one at a time."""

import codecs
from collections.abc import Sequence
from typing import Final, Protocol

from elman.data.tokens import NEWLINE, Level, separator

UNKNOWN: Final = "<unk>"
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
"""How an unknown character is written, so that a text keeps its length; an unknown word is `<unk>`."""


class Decodable(Protocol):
    """What a vocabulary can say of its tokens."""

    @property
    def level(self) -> Level:
        """What a token is."""

    def to_tokens(self, ids: int) -> str:
        """The token of an id."""

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of ids at level byte."""


class Stream:
    """Text from ids one at a time, the same in sum as decoding them at once.

    Push the ids of a prompt first and drop what comes back, and the text continues as the prompt asks: with
    the space before a word, or the rest of a character that the prompt began.
    """

    def __init__(self, vocab: Decodable) -> None:
        self._vocab = vocab
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
        self._before = NEWLINE

    def push(self, id_: int) -> str:
        """What the text grows by; "" while a character of several bytes is incomplete."""
        if self._vocab.level == "byte":
            return self._bytes.decode(self._vocab.decode_bytes([id_]))
        if self._vocab.level == "char":
            character = self._vocab.to_tokens(id_)
            return REPLACEMENT if character == UNKNOWN else character
        word = self._vocab.to_tokens(id_)
        gap, self._before = separator(self._before, word), word
        return gap + word

    def flush(self) -> str:
        """The end of the text: U+FFFD for a character that never became complete, else ""."""
        return self._bytes.decode(b"", final=True)
