"""Named cleanings of a text. Each maps pieces of a text to pieces; the result does not depend on where it is cut.

none           text
lower          lower(text)
lower-spaces   lower(text), every run of white space one space
letters        lower(letters and combining marks of any script, every run of anything else one space)
letters-lines  letters without a space at either end: the lines, stripped, joined by one space
reference-letters   the stripped lines joined by nothing, as Zhang et al. 2021 do, section 8.2: 2,847 word boundaries
                    of The Time Machine are lost ("himwas"); only to reproduce their figures
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

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


def cleaning(name: str) -> Cleaning:
    """The cleaning of a name.

    Raises:
        ConfigError: there is no such cleaning.
    """
    if name not in CLEANINGS:
        raise ConfigError(no_such("normalization", name, CLEANINGS))
    return CLEANINGS[name]


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


class _Letters(dict[int, str]):
    """Code point -> itself if it is a letter or a combining mark, else a space; filled as it is used."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = character if unicodedata.category(character)[0] in "LM" else " "
        return self[code]


_ASCII_LETTERS: Final = bytes(code if chr(code).isalpha() else 0x20 for code in range(128)) + bytes(128)
_LETTERS: Final = _Letters()


def _only_letters(pieces: Pieces) -> Iterator[str]:
    """Everything but letters and combining marks is a space."""
    for piece in pieces:
        if piece.isascii():
            yield piece.encode("ascii").translate(_ASCII_LETTERS).decode("ascii")
        else:
            yield piece.translate(_LETTERS)


def _stripped(pieces: Pieces) -> Iterator[str]:
    """No space at the beginning and none at the end, of a text in which spaces stand alone."""
    held = ""
    started = False
    for piece in pieces:
        text = held + piece if started else piece.lstrip(" ")
        started = started or bool(text)
        held = " " if text.endswith(" ") else ""
        yield text.removesuffix(" ")


def _joined_lines(pieces: Pieces) -> Iterator[str]:
    """Letters in which a run of anything else is one space, or nothing where it holds a line break or an end."""
    held = "\n"  # as if a line had ended before: what stands before the first letter vanishes
    for piece in pieces:
        text = held + "\n".join(_only_letters(piece.split("\n")))
        kept = text.rstrip(" \n")
        held = text[len(kept) :]
        yield _RUN.sub(lambda run: "" if "\n" in run[0] else " ", kept)


_RUN: Final = re.compile("[ \n]+")
_ALL: Final = (
    Cleaning("none", "the text without any change", iter),
    Cleaning("lower", "lower-case", _lower),
    Cleaning("lower-spaces", "lower case; white space becomes one space", lambda text: _spaced(_lower(text))),
    Cleaning(
        "letters",
        "lower-case letters of any script; everything else becomes one space",
        lambda text: _lower(_spaced(_only_letters(text))),
    ),
    Cleaning(
        "letters-lines",
        "letters line by line: stripped, blank lines dropped, joined by one space",
        lambda text: _stripped(_lower(_spaced(_only_letters(text)))),
    ),
    Cleaning(
        "reference-letters",
        "letters line by line, joined by nothing, as Zhang et al. 2021; loses word boundaries",
        lambda text: _lower(_joined_lines(text)),
    ),
)
CLEANINGS: Final = {each.name: each for each in _ALL}
