"""The user's own text: files, folders, patterns, standard input."""

from collections.abc import Sequence

from elman.data.read import Errors, byte_chunks, text_chunks
from elman.data.sources.base import Source


def files(paths: Sequence[str], errors: Errors = "strict") -> Source:
    """The text of the paths one after the other; `elman.data.read` says what a path may be."""
    return Source(
        name=", ".join(paths),
        description="your own text",
        text=lambda: text_chunks(paths, errors=errors),
        raw=lambda: byte_chunks(paths),
    )
