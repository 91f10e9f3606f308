"""Named texts, one source a file. Importing this package imports, and so registers, every source beside it."""

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from elman.data.files import DecodingErrors, Piece, separated
from elman.data.sources.base import SOURCES, Files, Source, file_source
from elman.errors import ConfigError, DataError, no_such

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["SOURCES", "Source", "file_source", "resolve"]


def resolve(names: Sequence[str], errors: DecodingErrors = "strict", *, end_lines: bool = True) -> Source:
    """One source for everything that a user named. The end of each text and of each file ends a line.

    Args:
        names: names of sources and paths, read one after the other. A registered name is preferred to a file of
            that name; `./name` is the file.
        errors: what happens to bytes of files that are not UTF-8.
        end_lines: False joins the last line of a text and the first of the next, as version 0.1 did.

    Raises:
        DataError: a single word that is neither a source nor a file; the message lists the sources.
        ConfigError: `names` is empty.
    """
    if not names:
        raise ConfigError(f"name a source ({', '.join(SOURCES)}), a file, or a folder")
    if len(names) == 1:
        name = names[0]
        return SOURCES[name] if name in SOURCES else file_source([_checked_path(name)], errors, end_lines=end_lines)
    files = Files()
    each = [
        _noting(SOURCES[name], files)
        if name in SOURCES
        else file_source([_checked_path(name)], errors, end_lines=end_lines, files=files)
        for name in names
    ]
    return _concatenated(each, files, end_lines=end_lines)


def _noting(source: Source, files: Files) -> Source:
    """A named source that notes that it was read."""

    def noted(pieces: Iterator[Piece]) -> Iterator[Piece]:
        yield from pieces
        files.add(source.name, f"source {source.name}".encode())

    return replace(source, text=lambda: noted(source.text()), raw=lambda: noted(source.bytes()))


def _checked_path(name: str) -> str:
    """The name, unless it is a single word that is no file: that is taken for a misspelt source."""
    if name.replace("-", "").replace("_", "").isalnum() and not Path(name).exists():
        raise DataError(no_such("source or file", name, SOURCES) + ", or give the path of a text")
    return name


def _concatenated(each: Sequence[Source], files: Files, *, end_lines: bool) -> Source:
    """Several sources as one; its tokens are words only if words suit all of them."""

    def text() -> Iterator[str]:
        files.begin()
        texts = (source.text() for source in each)
        return separated(texts, "\n", ("\n", "\r")) if end_lines else chain.from_iterable(texts)

    def raw() -> Iterator[bytes]:
        files.begin()
        texts = (source.bytes() for source in each)
        return separated(texts, b"\n", (b"\n", b"\r")) if end_lines else chain.from_iterable(texts)

    return Source(
        name=", ".join(source.name for source in each),
        description="; ".join(dict.fromkeys(source.description for source in each)),
        text=text,
        raw=raw,
        level="word" if all(source.level == "word" for source in each) else "char",
        notes=files.notes,
        marks=lambda: files.marks,
    )
