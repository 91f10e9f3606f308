"""The folder of a result that the user gave no name."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

LONGEST = 60
"""Characters of the name of a source in that of a folder: file systems allow 255 bytes."""


def free_folder(sources: Sequence[str], what: str) -> Path:
    """The first folder runs/SOURCE-WHAT-N, N = 1, 2, ..., that does not exist.

    Args:
        sources: what the command reads; the first gives the folder its name.
        what: the kind of the result, such as the name of a cell, or "forecast".

    Returns:
        A path relative to the working directory; nothing is created.
    """
    first = Path(sources[0]).name.split(".")[0] if sources[0] != "-" else "stdin"
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in first).strip("-")[:LONGEST] or "text"
    candidates = (Path("runs") / f"{name}-{what}-{n}" for n in itertools.count(1))
    return next(path for path in candidates if not os.path.lexists(path))
