"""What a source of text is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from elman.data.files import Errors, byte_chunks, text_chunks
from elman.data.tokens import Level

Text = Callable[[], Iterator[str]]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a text comes from. Every call of `text` reads it again, in pieces."""

    name: str
    description: str
    text: Text
    level: Level = "char"
    """The tokens that suit it where the user names none."""
    split: tuple[Text, Text] | None = None
    """Training and held-out text, where the source itself says which is which."""
    raw: Callable[[], Iterator[bytes]] | None = None
    """The bytes as they are, where they need not be UTF-8."""

    def bytes(self) -> "Iterator[bytes]":
        """The text as bytes, in pieces."""
        return self.raw() if self.raw else (piece.encode("utf-8") for piece in self.text())


def files(paths: Sequence[str], errors: Errors = "strict") -> Source:
    """The text of the paths one after the other; `elman.data.files` says what a path may be."""
    return Source(
        name=", ".join(paths),
        description="your own text",
        text=lambda: text_chunks(paths, errors=errors),
        raw=lambda: byte_chunks(paths),
    )
