"""Named cleanings of a text. Each maps pieces of a text to pieces; the result does not depend on where it is cut.

none           text
lower          lower(text)
lower-spaces   lower(text), every run of white space one space
letters        lower(letters of any script with what extends them, every run of anything else one space)
letters-lines  letters without a space at either end: the lines, stripped, joined by one space
reference-letters   the stripped lines joined by nothing, as Zhang et al. 2021 do, section 8.2: 2,847 word boundaries
                    of The Time Machine are lost ("himwas"); only to reproduce their figures

Letters are extended by marks, joiners, soft hyphens and variation selectors (rule WB4 of UAX 29), and joined by a
typographic apostrophe. The ASCII apostrophe ends a word here, as it does for Zhang et al. 2021.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from elman.data.segmentation import Segmentation, extends
from elman.errors import ConfigError, no_such

Pieces = Iterable[str]

SIGMA: Final = "\N{GREEK CAPITAL LETTER SIGMA}"
FINAL_SIGMA: Final = "\N{GREEK SMALL LETTER FINAL SIGMA}"
ASCII_CASELESS: Final = "'.:^`"
"""The ASCII characters that may stand inside a word without ending it (Unicode: case-ignorable)."""


@dataclass(frozen=True)
class Cleaning:
    """What is done to a text before it is split into tokens.

    Args:
        name: what a user types.
        description: one line for the list that `elman data` prints.
        apply: cleans a text that comes in pieces.
    """

    name: str
    description: str
    apply: Callable[[Pieces], Iterator[str]]

    def __call__(self, text: str) -> str:
        """The cleaned text.

        Example:
            >>> CLEANINGS["letters"]("Für 2 naïve  cafés!")
            'für naïve cafés '
        """
        return "".join(self.apply([text]))


def cleaning(name: str, segmentation: Segmentation = "uax29") -> Cleaning:
    """The cleaning of a name.

    Args:
        name: what a user types.
        segmentation: the rules of what belongs to a word; "0.1" are those of that version, for models of it.

    Raises:
        ConfigError: there is no such cleaning.
    """
    if name not in CLEANINGS:
        raise ConfigError(no_such("normalization", name, CLEANINGS))
    return _BY_SEGMENTATION[segmentation][name]


def _lower(pieces: Pieces) -> Iterator[str]:
    """`str.lower`, which looks beyond one character in one case only: a capital sigma that ends a word.

    So all that is kept of the past is whether a cased letter stands before; a sigma is held back until what follows.
    """
    before, held = "", ""
    for piece in pieces:
        text, held = _until_undecided_sigma(held + piece)
        if text:
            lowered, before = _lowered(text, before)
            yield lowered
    yield (before + held).lower()[len(before) :]


def _lowered(text: str, before: str) -> tuple[str, str]:
    """The lower-case text, and the "a" or "" that stands for it before what follows."""
    if text.isascii():
        last = text.rstrip(ASCII_CASELESS)[-1:]
        return text.lower(), ("a" if last.isalpha() else "") if last else before
    probed = (before + text + SIGMA).lower()
    return probed[len(before) : -1], "a" if probed.endswith(FINAL_SIGMA) else ""


def _until_undecided_sigma(text: str) -> tuple[str, str]:
    """The text cut before its last capital sigma, if what follows the text decides the form of that sigma."""
    cut = text.rfind(SIGMA)
    if cut < 0 or ("a" + text[cut:]).lower() == ("a" + text[cut:] + "a").lower()[:-1]:
        return text, ""
    return text[:cut], text[cut:]


def _spaced(pieces: Pieces) -> Iterator[str]:
    """Every run of white space is one space."""
    after_space = False
    for piece in pieces:
        if not piece:
            continue
        words = " ".join(piece.split())
        first = " " if piece[0].isspace() and not after_space else ""
        after_space = piece[-1].isspace()
        yield first + words + (" " if words and after_space else "")


class _Kinds(dict[int, str]):
    """Code point -> "L" letter, "x" what extends it, "q" typographic apostrophe, "-" another; filled as it is used."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        is_letter, is_apostrophe = unicodedata.category(character)[0] == "L", character == APOSTROPHE
        self[code] = "L" if is_letter else "x" if extends(character) else "q" if is_apostrophe else "-"
        return self[code]


APOSTROPHE: Final = "\N{RIGHT SINGLE QUOTATION MARK}"
_KINDS: Final = _Kinds()
_ASCII_LETTERS: Final = bytes(code if chr(code).isalpha() else 0x20 for code in range(128)) + bytes(128)
_ASCII_LINES: Final = _ASCII_LETTERS[:10] + b"\n" + _ASCII_LETTERS[11:]
LettersOnly = Callable[[Pieces, str], Iterator[str]]


def _letters(pieces: Pieces, kept: str = "") -> Iterator[str]:
    """Everything but letters, what extends them, and the apostrophes between them is a space; `kept` stays."""
    held, in_word = "", False
    for piece in pieces:
        text, held = held + piece, ""
        if text.endswith(APOSTROPHE):
            text, held = text[:-1], APOSTROPHE
        if text:
            cleaned, in_word = _only_letters(text, in_word, kept)
            yield cleaned
            if held and not in_word:
                yield " "
                held = ""
    yield " " if held else ""


def _only_letters(text: str, in_word: bool, kept: str) -> tuple[str, bool]:
    """The letters of a text, and whether it ends within a word; `in_word`: whether what stands before it did."""
    if text.isascii():
        cleaned = text.encode("ascii").translate(_ASCII_LINES if kept else _ASCII_LETTERS).decode("ascii")
        return cleaned, cleaned[-1].isalpha()
    kinds = np.frombuffer((("L" if in_word else "-") + text.translate(_KINDS)).encode("ascii"), np.uint8)
    letter = kinds == ord("L")
    places = np.arange(len(kinds))
    keep = letter[np.maximum.accumulate(np.where(kinds == ord("x"), 0, places))]  # that of the last that is no "x"
    between = (kinds[1:-1] == ord("q")) & keep[:-2] & letter[2:]
    keep[1:-1] |= between
    points = np.frombuffer(text.encode("utf-32-le"), "<u4").copy()
    dropped = ~keep[1:]
    for character in kept:
        dropped &= points != ord(character)
    points[dropped] = ord(" ")
    return points.tobytes().decode("utf-32-le"), bool(keep[-1])


class _Letters01(dict[int, str]):
    """Code point -> itself if it is a letter or a combining mark, else a space; filled as it is used."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = character if unicodedata.category(character)[0] in "LM" else " "
        return self[code]


_LETTERS_0_1: Final = _Letters01()


def _letters_0_1(pieces: Pieces, kept: str = "") -> Iterator[str]:
    """Version 0.1: everything but letters and combining marks is a space."""
    for piece in pieces:
        parts = piece.split(kept) if kept else [piece]
        yield kept.join(part.translate(_LETTERS_0_1) for part in parts)


def _stripped(pieces: Pieces) -> Iterator[str]:
    """No space at the beginning and none at the end, of a text in which spaces stand alone."""
    held = ""
    started = False
    for piece in pieces:
        text = held + piece if started else piece.lstrip(" ")
        started = started or bool(text)
        held = " " if text.endswith(" ") else ""
        yield text.removesuffix(" ")


def _joined_lines(letters_and_lines: Pieces) -> Iterator[str]:
    """Letters in which a run of anything else is one space, or nothing where it holds a line break or an end."""
    held = "\n"  # as if a line had ended before: what stands before the first letter vanishes
    for piece in letters_and_lines:
        text = held + piece
        kept = text.rstrip(" \n")
        held = text[len(kept) :]
        yield _RUN.sub(lambda run: "" if "\n" in run[0] else " ", kept)


_RUN: Final = re.compile("[ \n]+")
_ALL: Final = (
    Cleaning("none", "the text without any change", iter),
    Cleaning("lower", "lower-case", _lower),
    Cleaning("lower-spaces", "lower case; white space becomes one space", lambda text: _spaced(_lower(text))),
)


def _of_letters(letters: LettersOnly) -> tuple[Cleaning, ...]:
    """The cleanings that depend on what belongs to a word."""
    return (
        Cleaning(
            "letters",
            "lower-case letters of any script; everything else becomes one space",
            lambda text: _lower(_spaced(letters(text, ""))),
        ),
        Cleaning(
            "letters-lines",
            "letters line by line: stripped, blank lines dropped, joined by one space",
            lambda text: _stripped(_lower(_spaced(letters(text, "")))),
        ),
        Cleaning(
            "reference-letters",
            "letters line by line, joined by nothing, as Zhang et al. 2021; loses word boundaries",
            lambda text: _lower(_joined_lines(letters(text, "\n"))),
        ),
    )


CLEANINGS: Final = {each.name: each for each in (*_ALL, *_of_letters(_letters))}
_BY_SEGMENTATION: Final[Mapping[Segmentation, Mapping[str, Cleaning]]] = {
    "uax29": CLEANINGS,
    "0.1": {each.name: each for each in (*_ALL, *_of_letters(_letters_0_1))},
}
