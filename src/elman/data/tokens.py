"""A text as a sequence of tokens, before any vocabulary: codes that index a table of the distinct tokens.

    char   a token is a code point
    word   a token is a word, a single other character that is no space, or a line end (`elman.data.segmentation`)
    byte   a token is a byte, its code the value

A table rather than code points, because one emoji would make every code of a gigabyte four bytes wide.
The white space between words is no token: a text that was read keeps it beside them, so that every level gives the
text back exactly. Words without it are written with one space between them and none around a line end.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from elman.data.batches import token_counts
from elman.data.files import MARK
from elman.data.segmentation import Segmentation, cut_gap, spaced_words
from elman.errors import ConfigError, DataError, no_such

Level = Literal["char", "word", "byte"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
Pieces = Iterable[str] | Iterable[bytes]
Codes = npt.NDArray[np.unsignedinteger[Any]]

ASCII: Final = 128
BLOCK: Final = 1 << 18
"""Characters that are split into words at a time."""
NEWLINE: Final = "\n"


def check_level(level: str) -> Level:
    """The level of a name.

    Raises:
        ConfigError: there is no such level.
    """
    for known in LEVELS:
        if level == known:
            return known
    raise ConfigError(no_such("level", level, LEVELS))


def unsigned(largest: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The smallest unsigned integer type that holds `largest`."""
    return np.dtype(np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32)


@dataclass(frozen=True, eq=False)
class TokenSequence:
    r"""The tokens of a text. A slice by position is a view of the same memory.

    Args:
        level: what a token is.
        codes: (n,) the index of each token in `types`, in the smallest unsigned type that holds the largest.
        types: the distinct tokens; a part of a text shares the table of the whole.
        segmentation: the rules of word boundaries by which the text was normalized and split.
        gaps: (n,) the index in `gap_types` of the white space before each token; None: as `join_words` writes it.
        gap_types: the distinct stretches of white space between words.
        tail: white space after the last token.
        marks: byte order marks before the first token.

    Example:
        >>> symbols = TokenSequence.read(["the time ", "traveller, the\n"], "word")
        >>> len(symbols), symbols.tokens()
        (6, ['the', 'time', 'traveller', ',', 'the', '\n'])
        >>> symbols[1:3].text(), symbols[1:3].characters
        (' time traveller', 15)
    """

    level: Level
    codes: Codes
    types: tuple[str, ...]
    segmentation: Segmentation = "uax29"
    gaps: Codes | None = None
    gap_types: tuple[str, ...] = ()
    tail: str = ""
    marks: int = 0

    @classmethod
    def read(
        cls, pieces: Pieces, level: Level, limit: int | None = None, *, segmentation: Segmentation = "uax29"
    ) -> "TokenSequence":
        """Split a text into tokens.

        Args:
            pieces: the text, in pieces cut anywhere; no more of them is read than `limit` needs.
            level: what a token is.
            limit: the number of tokens to read; None reads all.
            segmentation: the rules of word boundaries.

        Raises:
            DataError: the text holds half of a surrogate pair, or bytes read as characters are not UTF-8.
        """
        if level == "byte":
            values = (np.frombuffer(_as_bytes(piece), np.uint8) for piece in pieces)
            return cls(level, _concatenated(values, limit), BYTE_NAMES, segmentation)
        texts = map(_as_text, pieces)
        if level == "word":
            return _read_words(texts, limit, segmentation)
        table = _CharacterTable()
        codes = _concatenated(table.codes(texts), limit)
        return cls(level, codes, tuple(table.types()), segmentation)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, part: "slice | npt.NDArray[np.bool_]") -> "TokenSequence":
        """The tokens at the positions of a slice (a view), or where a mask (n,) holds (a copy)."""
        codes = self.codes[part]
        marks = 0 if isinstance(part, slice) and part.indices(len(self))[0] else self.marks
        if self.gaps is None:
            return replace(self, codes=codes, marks=marks)
        at_end = isinstance(part, slice) and len(codes) and part.indices(len(self))[1] == len(self)
        return replace(self, codes=codes, gaps=self.gaps[part], tail=self.tail if at_end else "", marks=marks)

    def counts(self) -> npt.NDArray[np.int64]:
        """How often each code occurs, (number of types,)."""
        return self._counts

    @cached_property
    def _counts(self) -> npt.NDArray[np.int64]:
        return token_counts(self.codes, len(self.types))

    @property
    def characters(self) -> int:
        """The number of characters of `text()`; a byte counts if it begins a character."""
        if self.level == "byte":
            return self._sum(value & 0xC0 != 0x80 for value in range(256)) + self.marks
        return self._sum(len(token) for token in self.types) + self._white_space(len) + self.marks

    @property
    def bytes(self) -> int:
        """The number of bytes of `text()` in UTF-8; at level byte, of the text itself."""
        marks = self.marks * utf8_length(MARK)
        if self.level == "byte":
            return len(self) + marks
        return self._sum(len(token.encode("utf-8")) for token in self.types) + self._white_space(utf8_length) + marks

    def _sum(self, sizes: Iterable[int]) -> int:
        return sum(n * size for n, size in zip(self.counts().tolist(), sizes, strict=True))

    def _white_space(self, size: Callable[[str], int]) -> int:
        """The size of all white space beside the words."""
        if self.level != "word" or not len(self):
            return 0
        gaps, types = self.white_space()
        return int(token_counts(gaps, len(types)) @ np.array([size(gap) for gap in types])) + size(self.tail)

    def white_space(self) -> tuple[Codes, tuple[str, ...]]:
        """The index of the white space before each word, (n,), and the distinct stretches of white space."""
        if self.gaps is not None:
            return self.gaps, self.gap_types
        ends = self.codes == self.types.index(NEWLINE) if NEWLINE in self.types else np.zeros(len(self), np.bool_)
        gaps = np.zeros(len(self), np.uint8)
        gaps[1:] = ~(ends[1:] | ends[:-1])
        return gaps, ("", " ")

    def text(self) -> str:
        """The text itself; bytes that are not UTF-8 become U+FFFD."""
        before = MARK * self.marks
        if self.level == "byte":
            return before + self.codes.tobytes().decode("utf-8", "replace")
        if self.level == "char":
            return before + "".join(self.tokens())
        gaps, types = self.white_space()
        pairs = zip(gaps.tolist(), self.codes.tolist(), strict=True)
        return before + "".join(f"{types[gap]}{self.types[code]}" for gap, code in pairs) + self.tail

    def tokens(self) -> list[str]:
        """The tokens one by one, as strings."""
        return [self.types[code] for code in self.codes.tolist()]


def join_words(tokens: Iterable[str]) -> str:
    r"""Words as text: one space between them, none around a line end.

    Example:
        >>> join_words(["one", ",", "\n", "two"])
        'one ,\ntwo'
    """
    return "".join(separator(before, word) + word for before, word in pairwise([NEWLINE, *tokens]))


def utf8_length(text: str) -> int:
    """The number of bytes of a text in UTF-8."""
    return len(text.encode("utf-8"))


def separator(before: str, word: str) -> str:
    r"""The text between two neighbouring words: a space, or nothing beside a line end.

    Args:
        before: the word before; "\n" is a line end.
        word: the word after it.
    """
    return "" if NEWLINE in (before, word) else " "


BYTE_NAMES: Final = tuple(chr(value) if value < 0x80 else f"\\x{value:02x}" for value in range(256))
"""How the 256 bytes are written where a token must be a string: ASCII as itself, the others as `\\xe4`."""


class _CharacterTable:
    """A code for every character that occurs, after the 128 of ASCII, whose codes are their code points."""

    def __init__(self) -> None:
        self._points = list(range(ASCII))
        self._code = np.arange(ASCII, dtype=np.int32)
        """Code point -> code, -1 where it has none yet."""

    def types(self) -> Iterator[str]:
        """The character of each code."""
        return map(chr, self._points)

    def codes(self, pieces: Iterable[str]) -> Iterator[Codes]:
        """The codes of each piece."""
        for piece in pieces:
            encoded = _as_bytes(piece) if piece.isascii() else b""
            yield np.frombuffer(encoded, np.uint8) if encoded else self._looked_up(piece)

    def _looked_up(self, piece: str) -> Codes:
        """code[points], after giving a code to every character that has none."""
        points = np.frombuffer(_encoded(piece, "utf-32-le"), "<u4")
        beyond = int(points.max(initial=0)) + 1 - len(self._code)
        if beyond > 0:
            self._code = np.concatenate([self._code, np.full(beyond, -1, np.int32)])
        codes = np.take(self._code, points, mode="clip")  # no point lies beyond; this skips the check
        if codes.min(initial=0) < 0:
            for point in np.unique(points[codes < 0]).tolist():
                self._code[point] = len(self._points)
                self._points.append(point)
            codes = np.take(self._code, points, mode="clip")
        return codes.astype(unsigned(len(self._points) - 1))


def _as_bytes(piece: str | bytes) -> bytes:
    return piece if isinstance(piece, bytes) else _encoded(piece, "utf-8")


def _encoded(piece: str, encoding: str) -> bytes:
    try:
        return piece.encode(encoding)
    except UnicodeEncodeError as error:
        code = ord(piece[error.start])
        raise DataError(
            f"the text holds U+{code:04X} at position {error.start}, half of a surrogate pair and not a character: "
            "remove it"
        ) from error


def _characters(piece: str) -> str:
    """The same, refused where it holds half of a surrogate pair."""
    _encoded(piece, "utf-8")
    return piece


def _as_text(piece: str | bytes) -> str:
    try:
        return piece if isinstance(piece, str) else piece.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8: byte 0x{piece[error.start]:02X} at offset {error.start:,}") from error


def _concatenated(parts: Iterable[Codes], limit: int | None) -> Codes:
    """All parts, or their first `limit` codes, as one array."""
    held: list[Codes] = []
    missing = limit
    for part in parts:
        held.append(part[:missing])
        if missing is not None:
            missing -= len(held[-1])
            if missing == 0:
                break
    return np.concatenate(held) if held else np.empty(0, np.uint8)


class _Places(dict[str, int]):
    """String -> its place in order of appearance, assigned when it is first looked up."""

    def __missing__(self, word: str) -> int:
        self[word] = place = len(self)
        return place


def _read_words(pieces: Iterable[str], limit: int | None, segmentation: Segmentation) -> TokenSequence:
    """The words of a text, each with the white space before it.

    Both are looked up as one string, whose distinct values are then cut in two: as fast as words alone.
    """
    spaced = _Places()
    tail: list[str] = []
    found = _spaced_words(map(_characters, pieces), segmentation, tail)
    codes = _concatenated(
        (np.fromiter(map(spaced.__getitem__, each), unsigned(len(spaced) + len(each)), len(each)) for each in found),
        limit,
    )
    types, gaps = _Places(), _Places()
    cut = [(gaps[gap], types[word]) for gap, word in map(cut_gap, spaced)]
    gap_of = np.array([gap for gap, _ in cut], unsigned(len(gaps)))
    word_of = np.array([word for _, word in cut], unsigned(len(types)))
    return TokenSequence("word", word_of[codes], tuple(types), segmentation, gap_of[codes], tuple(gaps), "".join(tail))


def _spaced_words(pieces: Iterable[str], segmentation: Segmentation, tail: list[str]) -> Iterator[list[str]]:
    """The words of each piece with the white space before them.

    The last two wait where they touch the end of the piece, for the next one may join them.

    Args:
        pieces: a text, cut anywhere.
        segmentation: the rules of word boundaries.
        tail: filled with the white space after the last word, once all pieces were read.
    """
    held = ""
    gap: list[str] = []
    blocks = (piece[at : at + BLOCK] for piece in pieces for at in range(0, len(piece), BLOCK))
    for block, is_last in chain(((block, False) for block in blocks), [("", True)]):
        text = held + block
        found = spaced_words(text, segmentation)
        after = text[sum(map(len, found)) :]
        if found:
            found[0] = "".join(gap) + found[0]
            gap.clear()
        held = before = ""
        for _ in range(0 if after or is_last else 2):
            if found and not before:
                before, word = cut_gap(found.pop())
                held = word + held
        gap += [before, after]
        yield found
    tail.extend(gap)


def spans(text: str, segmentation: Segmentation = "uax29") -> Iterator[tuple[int, int]]:
    r"""Where each word of a whole text begins and ends; between them is white space alone.

    Args:
        text: the text.
        segmentation: the rules of word boundaries.

    Example:
        >>> list(spans("so  it\n"))
        [(0, 2), (4, 6), (6, 7)]
    """
    end = 0
    for found in _spaced_words([text], segmentation, []):
        for spaced in found:
            end += len(spaced)
            yield end - len(cut_gap(spaced)[1]), end
