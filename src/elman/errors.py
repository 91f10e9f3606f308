"""Errors that a user can act on, and the parts that their messages share.

A message is one line: the cause, then the remedy. The class decides the exit code of the command line:

2  usage or configuration        5   training diverged
3  input data unusable           6   worse than the limit that was given
4  model or checkpoint refused   74  input or output failed (disk full, no permission)
"""

import difflib
import itertools
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

LISTED = 60
"""Names that a message lists at most."""


class ElmanError(Exception):
    """An error that the user can act on; shown as one line, without a traceback."""

    exit_code: ClassVar[int] = 1


class ConfigError(ElmanError):
    """A setting, a name or a combination of settings that cannot work."""

    exit_code = 2


class DataError(ElmanError):
    """The input text cannot be used: missing, empty, binary, wrongly encoded, too short."""

    exit_code = 3


class ModelError(ElmanError):
    """A model or checkpoint is damaged, of another program, or unfit for this use."""

    exit_code = 4


class DivergedError(ElmanError):
    """A loss or a gradient in training is not a finite number."""

    exit_code = 5


class StorageError(ElmanError):
    """A file cannot be read or written: the disk is full or read-only, or permission is missing."""

    exit_code = 74


def no_such(kind: str, name: object, existing: Iterable[str]) -> str:
    """The message that a name does not exist, with the names that do.

    Args:
        kind: what the name should be the name of, in one or two words.
        name: what was given, a string or not.
        existing: every name that could have been given.

    Example:
        >>> no_such("normalization", "leters", ["none", "letters"])
        "there is no normalization 'leters' (did you mean letters?): choose one of none, letters"
    """
    existing = list(existing)
    similar = did_you_mean(name, existing) if isinstance(name, str) else ""
    return f"there is no {kind} {name!r:.100}{similar}: choose one of {listed(existing)}"


def listed(names: list[str]) -> str:
    """The names with commas between them; of very many the first."""
    more = f", ... ({len(names):,} in all)" if len(names) > LISTED else ""
    return ", ".join(f"{name:.60}" for name in names[:LISTED]) + more


def did_you_mean(name: str, existing: Iterable[str]) -> str:
    """The question that follows a misspelt name, or "" where no existing name is similar.

    Args:
        name: what was given.
        existing: every name that could have been given.

    Example:
        >>> did_you_mean("hiden", ["hidden", "layers"]), did_you_mean("units", ["hidden", "layers"])
        (' (did you mean hidden?)', '')
    """
    similar = difflib.get_close_matches(name[:100], list(itertools.islice(existing, 1000)), n=1)
    return f" (did you mean {similar[0]}?)" if similar else ""


def quoted(path: str | Path) -> str:
    r"""A path as messages show it: in quotes and on one line, whatever characters or bytes it holds.

    Example:
        >>> print(quoted("notes of May.txt"), quoted("two\nlines"))
        'notes of May.txt' 'two\nlines'
    """
    return repr(str(path))


def printable(path: str | Path) -> str:
    """A path as headings show it: without quotes where all of its characters can be printed."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of what follows them."""


def one_line(text: str) -> str:
    r"""A text as messages and tables show it: control characters are escaped, so that it stays on one line.

    Args:
        text: may hold escape sequences of terminals, line ends, or lone surrogates.

    Returns:
        The same text with backslash escapes for these, and for characters that change the direction of writing.

    Example:
        >>> print(one_line("a\x1b[31m\tb"))
        a\x1b[31m\tb
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        ascii(c)[1:-1] if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} or c in _DIRECTIONS else c for c in text
    )
