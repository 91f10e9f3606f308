"""Where texts come from. To add a source, write its file and name it here."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from elman.data.files import Errors
from elman.data.sources import human_numbers, python_docs, time_machine
from elman.data.sources.base import Source, files
from elman.errors import ConfigError, DataError, no_such

__all__ = ["SOURCES", "Source", "resolve"]

SOURCES: Final = {module.SOURCE.name: module.SOURCE for module in (python_docs, human_numbers, time_machine)}


def resolve(names: Sequence[str], errors: Errors = "strict") -> Source:
    """One source out of what a user typed: names of sources and paths, read one after the other.

    A name of the registry wins over a file of that name; write `./name` for the file.

    Raises:
        DataError: a bare name that is neither a source nor on the disk; the message lists the sources.
        ConfigError: nothing was named.
    """
    if not names:
        raise ConfigError(f"name a source ({', '.join(SOURCES)}), a file, or a folder")
    each = [SOURCES[name] if name in SOURCES else files([_path(name)], errors) for name in names]
    return each[0] if len(each) == 1 else _chained(each)


def _path(name: str) -> str:
    """The name, if it can be meant as a path: a word that names nothing on the disk is a misspelt source."""
    if name.replace("-", "").replace("_", "").isalnum() and not Path(name).exists():
        raise DataError(no_such("source or file", name, SOURCES) + ", or give the path of a text")
    return name


def _chained(each: Sequence[Source]) -> Source:
    """Several sources as one; its tokens are words only if words suit all of them."""
    return Source(
        name=", ".join(source.name for source in each),
        description="; ".join(dict.fromkeys(source.description for source in each)),
        text=lambda: chain.from_iterable(source.text() for source in each),
        raw=lambda: chain.from_iterable(source.bytes() for source in each),
        level="word" if all(source.level == "word" for source in each) else "char",
    )
