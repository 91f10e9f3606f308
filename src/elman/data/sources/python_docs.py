"""The language reference that every CPython carries, so that a first run needs no download."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from elman.data.sources.base import Source
from elman.errors import DataError

PASSAGE = 80  # characters: a shorter paragraph ("For example:") may come again
RULE = re.compile(r"^[ \t]*[+|]?([*=\-~^])\1{3,}[*=\-~^+| ]*(?:\n|\Z)", re.MULTILINE)
"""A line of one sign, under a title or around the cells of a table."""
ROW = re.compile(r"^[ \t]*\|.*\|[ \t]*$", re.MULTILINE)
"""A row of a table, whose cells are filled up with blanks."""


def text() -> Iterator[str]:
    """The topics of Python's `help()` in sorted order, a blank line between them, without frames and repeated passages.

    Of 466,195 bytes in Python 3.11, 26,882 are rows of asterisks and hyphens under titles and the frames of tables, and
    88,522 are sections that stand in several topics, word by word, of which the first is kept.

    Raises:
        DataError: this Python was installed without its documentation.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(
            "python-docs: this Python lacks pydoc_data.topics: use another source or a text file"
        ) from error
    pages = (without_frames(topics[name]).strip("\n") for name in sorted(topics))
    yield "\n\n".join(without_repeats(pages)) + "\n"


def without_frames(text: str) -> str:
    """The text without rules, and with single blanks in the rows of tables."""
    return ROW.sub(lambda row: re.sub(" +", " ", row[0]), RULE.sub("", text))


def without_repeats(texts: Iterable[str]) -> Iterator[str]:
    """The paragraphs of texts, without passages of which every paragraph came before.

    A passage is a row of such paragraphs, of PASSAGE characters or more together. Blank lines part paragraphs.
    """
    seen: set[str] = set()

    def repeated(paragraph: str) -> bool:
        before = paragraph in seen
        seen.add(paragraph)
        return before

    paragraphs = (paragraph for each in texts for paragraph in re.split(r"\n(?:[ \t]*\n)+", each))
    for again, row in groupby(paragraphs, repeated):
        passage = "\n\n".join(row)
        if not again or len(passage) < PASSAGE:
            yield passage


SOURCE = Source(
    name="python-docs",
    description="the language reference inside this Python (no download; versions of Python differ)",
    text=text,
).register()
