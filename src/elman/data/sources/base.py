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
        notes: what a user should know of the text, once it was read: files that were read twice.
        marks: how many of its files begin with a byte order mark, once it was read; `text` and `raw` leave them out.

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
    notes: Callable[[], tuple[str, ...]] = tuple
    marks: Callable[[], int] = int

    def register(self) -> Self:
        """Make the source known by its name, in the place of an earlier one of that name."""
        SOURCES[self.name] = self
        return self

    def bytes(self) -> "Iterator[bytes]":
        """The text as bytes, in pieces."""
        return self.raw() if self.raw else (piece.encode("utf-8") for piece in self.text())


class Files:
    """Which files were read, by the digest of their contents, so that one that is read twice is told of."""

    def __init__(self) -> None:
        self._names: dict[bytes, list[str]] = {}
        self.marks = 0
        """How many of them begin with a byte order mark."""

    def begin(self) -> None:
        """Forget what was read: the text is read from its beginning."""
        self._names.clear()
        self.marks = 0

    def add(self, name: str, digest: bytes) -> None:
        """Note a file that was read to its end."""
        self._names.setdefault(digest, []).append(name)

    def add_mark(self) -> None:
        """Note a byte order mark."""
        self.marks += 1

    def notes(self) -> tuple[str, ...]:
        """A sentence for each text that was read more than once, whatever names its files have."""
        return tuple(_repeated(names) for names in self._names.values() if len(names) > 1)


def _repeated(names: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(names))
    count = "twice" if len(names) == 2 else f"{len(names)} times"
    if len(distinct) == 1:
        return f"{distinct[0]} is read {count}: name it once"
    return f"{', '.join(distinct[:-1])} and {distinct[-1]} have the same contents, which are read {count}: name one"


def file_source(
    paths: Sequence[str], errors: DecodingErrors = "strict", *, end_lines: bool = True, files: Files | None = None
) -> Source:
    """A source, not registered, of the files at some paths, one after the other.

    Args:
        paths: files, folders, glob patterns, or "-" for standard input, as `text_chunks` reads them.
        errors: what happens to bytes that are not UTF-8.
        end_lines: whether the end of a file ends a line.
        files: notes which files were read; shared by the parts of a source of several.
    """
    noted = Files() if files is None else files

    def begin() -> Files:
        if files is None:
            noted.begin()
        return noted

    def text() -> Iterator[str]:
        log = begin()
        return text_chunks(paths, errors=errors, end_lines=end_lines, on_file=log.add, on_mark=log.add_mark)

    def raw() -> Iterator[bytes]:
        log = begin()
        return byte_chunks(paths, end_lines=end_lines, on_file=log.add, on_mark=log.add_mark)

    return Source(
        name=", ".join(paths),
        description="your own text",
        text=text,
        raw=raw,
        notes=noted.notes,
        marks=lambda: noted.marks,
    )
