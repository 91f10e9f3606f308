"""What can go wrong, in one sentence each: the cause and the remedy. The class decides the exit code.

2  usage or configuration        5   training diverged
3  input data unusable           6   a requested gate failed
4  model or checkpoint refused   74  input or output failed (disk full, permission)
"""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar


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
    """A model or checkpoint is damaged, foreign, or does not fit what is asked of it."""

    exit_code = 4


class DivergedError(ElmanError):
    """Training met a loss or a gradient that is not a finite number."""

    exit_code = 5


class StorageError(ElmanError):
    """The disk refused: full, read-only, or no permission."""

    exit_code = 74


def no_such(kind: str, name: str, existing: Iterable[str]) -> str:
    """One line saying that `name` does not exist, what does, and the nearest spelling if there is one.

    Example:
        >>> no_such("cleaning", "leters", ["none", "letters"])
        "there is no cleaning 'leters' (did you mean letters?): choose none, letters"
    """
    existing = list(existing)
    return f"there is no {kind} {name!r}{nearest(name, existing)}: choose {', '.join(existing)}"


def nearest(name: str, existing: Iterable[str]) -> str:
    """The nearest spelling among those that exist, as a hint to put behind a message; "" where none is near."""
    near = difflib.get_close_matches(name, list(existing), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def printable(path: str | Path) -> str:
    """The path on one line of valid text, whatever bytes its name holds."""
    text = str(path)
    return text if text.isprintable() else ascii(text)
