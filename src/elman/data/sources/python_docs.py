"""The language reference that every CPython carries, so that a first run needs no download."""

from collections.abc import Iterator

from elman.data.sources.base import Source
from elman.errors import DataError


def text() -> Iterator[str]:
    """The topics of Python's `help()` in sorted order, a blank line between them.

    Raises:
        DataError: this Python was installed without its documentation.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(
            "python-docs: this Python lacks pydoc_data.topics, name another source or a text file"
        ) from error
    yield "\n\n".join(topics[name].strip("\n") for name in sorted(topics)) + "\n"


SOURCE = Source(
    name="python-docs",
    description="the language reference inside this Python (no download; versions of Python differ)",
    text=text,
).register()
