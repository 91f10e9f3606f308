"""The folder of a result: found and made before the work begins."""

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from elman.errors import ConfigError, quoted
from elman.storage.atomic import is_unused, make_folder, no_empty_folders, translate_os_errors

LONGEST = 60
"""Characters of the name of a source in that of a folder: file systems allow 255 bytes."""


@contextlib.contextmanager
def result_folder(given: Path | None, sources: Sequence[str], what: str, *, flag: str = "--run") -> Iterator[Path]:
    """An empty folder for the result of the block; it is removed again if the block leaves nothing in it.

    It is made before the block begins, so that a place that cannot be written is an error before the work is done, and
    so that commands that begin at the same time have folders of their own.

    Args:
        given: the folder that the user named; it may exist if it is empty.
        sources: what the command reads; where no folder is named, the first gives it its name.
        what: the kind of the result, such as the name of a cell, or "forecast".
        flag: the option that names the folder, for messages.

    Raises:
        ConfigError: the folder that the user named holds something.
        StorageError: it cannot be made.
    """
    if given is None:
        with _first_free(sources, what) as folder:
            yield folder
        return
    with translate_os_errors("make", given):
        exists = os.path.lexists(given)
        if exists and not (given.name and given.is_dir() and is_unused(given, ())):
            raise ConfigError(f"{quoted(given)} exists already: choose another {flag}")
    with no_empty_folders(given):
        with translate_os_errors("make", given):
            make_folder(given)
        with contextlib.nullcontext() if exists else _removed_if_empty(given):
            yield given


@contextlib.contextmanager
def _first_free(sources: Sequence[str], what: str) -> Iterator[Path]:
    """The first folder runs/SOURCE-WHAT-N, N = 1, 2, ..., that this process makes."""
    first = Path(sources[0]).name.split(".")[0] if sources[0] != "-" else "stdin"
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in first).strip("-")[:LONGEST] or "text"
    root = Path("runs")
    with no_empty_folders(root):
        with translate_os_errors("make", root):
            make_folder(root)
        for n in itertools.count(1):
            folder = root / f"{name}-{what}-{n}"
            with translate_os_errors("make", folder):
                if not _made(folder):  # of another run, which may begin at this moment
                    continue
            with _removed_if_empty(folder):
                yield folder
            return


def _made(folder: Path) -> bool:
    """Make a folder; False where it exists already. Its parent may be removed while nothing is in it."""
    while True:
        make_folder(folder.parent)
        try:
            folder.mkdir()
        except FileExistsError:
            return False
        except FileNotFoundError:
            if os.path.lexists(folder.parent):
                raise
        else:
            return True


@contextlib.contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it holds the result
            folder.rmdir()
