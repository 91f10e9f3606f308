"""Where the words of a text begin and end: the default word boundaries of Unicode (UAX 29, Davis and Chapman 2020).

    don't  3,14  na(i + diaeresis)ve  snake_case  woman+ZWJ+rocket        one word each
    "  !  %  a Chinese character                                         one word each, with the marks on it

White space is in no word, and a line end is a word of its own (a tailoring that UAX 29 allows). Marks, joiners, soft
hyphens and variation selectors belong to the character before them (rule WB4). Scripts without spaces (Chinese,
Japanese, Thai, Khmer, ...) would need a dictionary: there a word is mostly a character.

"0.1" are the rules of that version, which models keep that were trained by them: runs of letters, digits and
combining marks, and every other character for itself.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from types import MappingProxyType
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from elman.data import word_break
from elman.errors import ConfigError, no_such

Segmentation = Literal["uax29", "0.1"]
SEGMENTATIONS: Final[tuple[Segmentation, ...]] = get_args(Segmentation)
NEWLINE: Final = "\n"
LONGEST_WORD: Final = 1 << 16
"""Characters of the longest word; a longer run (a gigabyte without a space) is cut there."""

Classes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
_CLASSES: Final = (
    "other",
    "white",
    "newline",
    "letter",
    "pictographic letter",
    "hebrew",
    "katakana",
    "numeric",
    "extend num let",
    "extend",
    "zwj",
    "mid letter",
    "mid num let",
    "mid num",
    "single quote",
    "double quote",
    "regional",
    "pictographic",
)
_CODE: Final = MappingProxyType({name: code for code, name in enumerate(_CLASSES)})
_LETTERS: Final = ("letter", "pictographic letter", "hebrew")
_JOINED: Final[Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(_LETTERS, (*_LETTERS, "numeric", "extend num let")),  # WB5, WB9, WB13a
    "hebrew": (*_LETTERS, "numeric", "extend num let", "single quote"),  # and WB7a
    "numeric": (*_LETTERS, "numeric", "extend num let"),  # WB8, WB10, WB13a
    "katakana": ("katakana", "extend num let"),  # WB13, WB13a
    "extend num let": (*_LETTERS, "numeric", "katakana", "extend num let"),  # WB13a, WB13b
}
"""What is joined to the character before it, whatever else is around."""
_ACROSS: Final = (
    (_LETTERS, ("mid letter", "mid num let", "single quote")),  # WB6, WB7
    (("hebrew",), ("double quote",)),  # WB7b, WB7c
    (("numeric",), ("mid num", "mid num let", "single quote")),  # WB11, WB12
)
"""What is joined across one of the characters on the right."""

_ASCII: Final = re.compile(
    r"[0-9A-Z_a-z]++(?:[.:',;](?:(?<=[A-Za-z][.:'])(?=[A-Za-z])|(?<=[0-9][.,;'])(?=[0-9]))[0-9A-Z_a-z]++)*+|\n|[^\w\s]"
)
"""The same rules for ASCII, of which a text is mostly made."""


def check_segmentation(name: str) -> Segmentation:
    """The rules of a name.

    Raises:
        ConfigError: there are none of that name.
    """
    for known in SEGMENTATIONS:
        if name == known:
            return known
    raise ConfigError(no_such("segmentation", name, SEGMENTATIONS))


def words(text: str, segmentation: Segmentation = "uax29") -> list[str]:
    r"""The words of a whole text, in order; between two of them is white space alone, or nothing.

    Args:
        text: a text, or the rest of one from the beginning of a word.
        segmentation: "uax29", or "0.1" for the rules of that version.

    Example:
        >>> words("Don't pay 3.50,\nsnake_case!")
        ["Don't", 'pay', '3.50', ',', '\n', 'snake_case', '!']
    """
    return [cut_gap(spaced)[1] for spaced in spaced_words(text, segmentation)]


def spaced_words(text: str, segmentation: Segmentation = "uax29") -> list[str]:
    r"""The words of a whole text, each with the white space before it; what is left is white space.

    Args:
        text: a text, or the rest of one from the beginning of a word.
        segmentation: as for `words`.

    Example:
        >>> spaced_words("so  it\n goes ")
        ['so', '  it', '\n', ' goes']
    """
    return _SPLIT[segmentation](text)


def cut_gap(spaced: str) -> tuple[str, str]:
    r"""A word with the white space before it, as the white space and the word.

    Example:
        >>> cut_gap("  so"), cut_gap(" \n")
        (('  ', 'so'), (' ', '\n'))
    """
    word = NEWLINE if spaced.endswith(NEWLINE) else spaced.lstrip()
    return spaced[: len(spaced) - len(word)], word


def extends(character: str) -> bool:
    r"""Whether a character belongs to the one before it: a mark, a joiner, a soft hyphen, a variation selector (WB4).

    Example:
        >>> [extends(c) for c in ("\u0301", "\u200c", "\u00ad", "a", "\u200b")]
        [True, True, True, False, False]
    """
    return bool(_extending()[_table()[ord(character)]])


def starts_without_spaces(text: str) -> bool:
    """Whether the first character is of a script that does not write spaces between words.

    Those are Chinese characters, kana, and the scripts of South-East Asia (Thai, Lao, Khmer, Myanmar, ...).

    Example:
        >>> [starts_without_spaces(c) for c in ("時", "か", "ก", "ខ", "a", "한", "!")]
        [True, True, True, True, False, False, False]
    """
    letter = text[:1].isalpha() or unicodedata.category(text[:1] or " ") == "Lo"
    return letter and _table()[ord(text[0])] in (_CODE["other"], _CODE["katakana"])


def _uax29(text: str) -> list[str]:
    if text.isascii():
        found = _spaced(_ASCII).findall(text)
        longest = 0 if _has_white_space_often(text) else max(map(len, found), default=0)
    else:
        starts, stops = _spans(text)
        longest = int((stops - starts).max(initial=0))
        stops = stops.tolist()
        found = [text[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]
    return found if longest <= LONGEST_WORD else _cut(text, found)


def _has_white_space_often(text: str) -> bool:
    """Whether every half of the longest word holds a space or a line end, so that no word is longer."""
    half = max(1, LONGEST_WORD // 2)
    beginnings = range(0, len(text) - half + 1, half)
    return all(text.find(" ", i, i + half) >= 0 or text.find("\n", i, i + half) >= 0 for i in beginnings)


def _cut(text: str, found: list[str]) -> list[str]:
    """The words, the first that is too long cut, and what follows the cut split anew."""
    end = 0
    for i, spaced in enumerate(found):
        end += len(spaced)
        gap, word = cut_gap(spaced)
        if len(word) > LONGEST_WORD:
            cut = end - len(word) + LONGEST_WORD
            return [*found[:i], gap + word[:LONGEST_WORD], *_uax29(text[cut:])]
    return found


@cache
def _spaced(pattern: "re.Pattern[str]") -> "re.Pattern[str]":
    """The same words, each with the white space before it."""
    return re.compile(rf"[^\S\n]*+(?:{pattern.pattern})")


def _spans(text: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where the words of a text begin and end."""
    classes = np.take(_table(), np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4"), mode="clip")
    attached = _extending()[classes]
    attached[:1] = False
    attached[1:] &= ~_is("white", "newline")[classes[:-1]]
    base = np.flatnonzero(~attached)
    of = classes[base]
    joined = np.take(_pairs(), of[:-1].astype(np.intp) * len(_CLASSES) + of[1:])
    for beside, between in _ACROSS:
        outer = _is(*beside)[of]
        across = _is(*between)[of[1:-1]] & outer[:-2] & outer[2:]
        joined[:-1] |= across
        joined[1:] |= across
    if (regional := of == _CODE["regional"]).any():  # WB15, WB16: in pairs
        place = np.arange(len(of))
        before = np.concatenate(([False], regional[:-1]))
        odd = (place - np.maximum.accumulate(np.where(regional & ~before, place, 0))) % 2 == 1
        joined |= (regional & before & odd)[1:]
    if (classes == _CODE["zwj"]).any():  # WB3c
        joined |= _is("pictographic", "pictographic letter")[of[1:]] & (classes[base[1:] - 1] == _CODE["zwj"])
    starts = base[np.concatenate((np.ones(len(base[:1]), np.bool_), ~joined))]
    stops = np.concatenate((starts[1:], np.full(len(starts[:1]), len(classes))))
    written = classes[starts] != _CODE["white"]
    return starts[written], stops[written]


@cache
def _table() -> Classes:
    """The class of every code point."""
    table = np.zeros(0x110000, np.uint8)
    for name, ranges in {
        "letter": word_break.ALETTER,
        "hebrew": word_break.HEBREW_LETTER,
        "katakana": word_break.KATAKANA,
        "numeric": word_break.NUMERIC,
        "extend num let": word_break.EXTEND_NUM_LET,
        "extend": word_break.EXTEND_FORMAT,
        "zwj": "200D",
        "mid letter": word_break.MID_LETTER,
        "mid num let": word_break.MID_NUM_LET,
        "mid num": word_break.MID_NUM,
        "single quote": "27",
        "double quote": "22",
        "regional": "1F1E6-1F1FF",
    }.items():
        for first, last in _ranges(ranges):
            table[first : last + 1] = _CODE[name]
    for first, last in _ranges(word_break.PICTOGRAPHIC):
        part = table[first : last + 1]
        part[part == _CODE["letter"]] = _CODE["pictographic letter"]
        part[part == _CODE["other"]] = _CODE["pictographic"]
    white = [code for code in range(0x3001) if chr(code).isspace()]
    table[white] = _CODE["white"]
    table[ord("\n")] = _CODE["newline"]
    return table


def _ranges(text: str) -> Iterator[tuple[int, int]]:
    for each in text.split():
        first, _, last = each.partition("-")
        yield int(first, 16), int(last or first, 16)


@cache
def _is(*names: str) -> Flags:
    """For each class whether it is one of these."""
    return np.array([name in names for name in _CLASSES])


@cache
def _extending() -> Flags:
    return _is("extend", "zwj")


@cache
def _pairs() -> Flags:
    """Whether two neighbours are joined, (classes * classes,)."""
    return np.array([right in _JOINED.get(left, ()) for left in _CLASSES for right in _CLASSES])


_ASCII_0_1: Final = re.compile(rf"\w{{1,{LONGEST_WORD}}}|\n|[^\w\s]")


@cache
def _all_0_1() -> "re.Pattern[str]":
    r"""Words of any script. A combining mark belongs to the character before it, which `\w` leaves out."""
    marks = "".join(f"{first}-{last}" for first, last in _mark_ranges())
    return re.compile(rf"[\w{marks}]{{1,{LONGEST_WORD}}}|\n|[^\w\s][{marks}]{{0,{LONGEST_WORD}}}")


def _mark_ranges() -> Iterator[tuple[str, str]]:
    """First and last of every run of combining marks; all lie in these two stretches of Unicode."""
    codes = (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0))
    for is_mark, run in groupby(map(chr, codes), lambda character: unicodedata.category(character)[0] == "M"):
        if is_mark:
            characters = list(run)
            yield characters[0], characters[-1]


def _version_0_1(text: str) -> list[str]:
    return _spaced(_ASCII_0_1 if text.isascii() else _all_0_1()).findall(text)


_SPLIT: Final[Mapping[Segmentation, Callable[[str], list[str]]]] = {"uax29": _uax29, "0.1": _version_0_1}
