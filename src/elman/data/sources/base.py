"""A source of text, and the registry of the sources that have a name."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from elman.data.files import DecodingErrors, byte_chunks, text_chunks
from elman.data.tokens import Level

ReadText = Callable[[], Iterator[str]]
"""A function that reads a text from its beginning, in pieces of any length."""
ReadBytes = Callable[[], Iterator[bytes]]
"""The same for bytes."""

SOURCES: Final[dict[str, "Source"]] = {}
"""Every registered source by its name, which a user may type in the place of a path."""


@dataclass(frozen=True, kw_only=True)
class Source:
    r"""A text that can be read more than once.

    A registered source can be named wherever elman reads a text. A file in `elman/data/sources` that registers one
    is found without being named anywhere else; a script registers its own before it uses it, as below.

    Args:
        name: what a user types, and what reports show.
        description: one line for the list that `elman data` prints.
        text: reads the text; each call reads it again.
        level: the tokens to use where the user chooses none: "char", "word" or "byte".
        split: reads the training text and the held-out text, where the source defines which is which.
        raw: reads the bytes of the source, where they may be something other than the text in UTF-8.

    Example:
        >>> rhyme = Source(
        ...     name="rhyme",
        ...     description="a nursery rhyme",
        ...     text=lambda: iter(["one two buckle my shoe\n", "three four knock at the door\n"]),
        ...     level="word",
        ... ).register()
        >>> from elman.data.corpus import read_corpus
        >>> corpus = read_corpus(["rhyme"], held_out=3)
        >>> len(corpus.train.ids), corpus.vocab.decode(corpus.train.ids[:5])
        (10, 'one two buckle my shoe')
    """

    name: str
    description: str
    text: ReadText
    level: Level = "char"
    split: tuple[ReadText, ReadText] | None = None
    raw: ReadBytes | None = None

    def register(self) -> Self:
        """Make the source known by its name, in the place of an earlier one of that name."""
        SOURCES[self.name] = self
        return self

    def bytes(self) -> "Iterator[bytes]":
        """The text as bytes, in pieces."""
        return self.raw() if self.raw else (piece.encode("utf-8") for piece in self.text())


def file_source(paths: Sequence[str], errors: DecodingErrors = "strict") -> Source:
    """A source, not registered, of the files at some paths, one after the other.

    Args:
        paths: files, folders, glob patterns, or "-" for standard input, as `text_chunks` reads them.
        errors: what happens to bytes that are not UTF-8.
    """
    return Source(
        name=", ".join(paths),
        description="your own text",
        text=lambda: text_chunks(paths, errors=errors),
        raw=lambda: byte_chunks(paths),
    )
