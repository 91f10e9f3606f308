"""Named texts, one source a file. Importing this package imports, and so registers, every source beside it."""

import importlib
import pkgutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from elman.data.files import DecodingErrors
from elman.data.sources.base import SOURCES, Source, file_source
from elman.errors import ConfigError, DataError, no_such

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["SOURCES", "Source", "file_source", "resolve"]


def resolve(names: Sequence[str], errors: DecodingErrors = "strict") -> Source:
    """One source for everything that a user named.

    Args:
        names: names of sources and paths, read one after the other. A registered name is preferred to a file of
            that name; `./name` is the file.
        errors: what happens to bytes of files that are not UTF-8.

    Raises:
        DataError: a single word that is neither a source nor a file; the message lists the sources.
        ConfigError: `names` is empty.
    """
    if not names:
        raise ConfigError(f"name a source ({', '.join(SOURCES)}), a file, or a folder")
    each = [SOURCES[name] if name in SOURCES else file_source([_checked_path(name)], errors) for name in names]
    return each[0] if len(each) == 1 else _concatenated(each)


def _checked_path(name: str) -> str:
    """The name, unless it is a single word that is no file: that is taken for a misspelt source."""
    if name.replace("-", "").replace("_", "").isalnum() and not Path(name).exists():
        raise DataError(no_such("source or file", name, SOURCES) + ", or give the path of a text")
    return name


def _concatenated(each: Sequence[Source]) -> Source:
    """Several sources as one; its tokens are words only if words suit all of them."""
    return Source(
        name=", ".join(source.name for source in each),
        description="; ".join(dict.fromkeys(source.description for source in each)),
        text=lambda: chain.from_iterable(source.text() for source in each),
        raw=lambda: chain.from_iterable(source.bytes() for source in each),
        level="word" if all(source.level == "word" for source in each) else "char",
    )
