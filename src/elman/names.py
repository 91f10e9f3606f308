"""Names that a user types, and what to say when one does not exist."""

import difflib
from collections.abc import Iterable
from pathlib import Path


def no_such(kind: str, name: str, existing: Iterable[str]) -> str:
    """One line saying that `name` does not exist, what does, and the nearest spelling if there is one.

    Example:
        >>> no_such("cleaning", "leters", ["none", "letters"])
        "there is no cleaning 'leters' (did you mean letters?): choose none, letters"
    """
    existing = list(existing)
    near = difflib.get_close_matches(name, existing, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"there is no {kind} {name!r}{hint}: choose {', '.join(existing)}"


def printable(path: str | Path) -> str:
    """The path on one line of valid text, whatever bytes its name holds."""
    text = str(path)
    return text if text.isprintable() else ascii(text)
