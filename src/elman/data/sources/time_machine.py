"""The Time Machine by H. G. Wells (1895): found in the data home, else downloaded once and checked.

The data home is `ELMAN_DATA_HOME`, or the folder for the data of programs on this platform. With
`ELMAN_OFFLINE` set nothing is ever downloaded.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from elman.data.sources.base import Source
from elman.errors import DataError, StorageError, quoted
from elman.storage.atomic import make_folder, no_empty_folders, replace_file, translate_os_errors

FILE: Final = "timemachine.txt"
SHA1: Final = "090b5e7e70c295757f55df93cb0a180b9691891a"
URL: Final = "https://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt"
MAX_BYTES: Final = 1 << 20
"""The most that is read of an answer; the book has 178,979 bytes."""
TIMEOUT: Final = 30.0
"""Seconds without an answer after which a download fails."""


def data_home() -> Path:
    """The folder that holds downloaded texts."""
    if home := os.environ.get("ELMAN_DATA_HOME"):
        return Path(home).expanduser()
    import platformdirs

    return platformdirs.user_data_path("elman")


def text() -> Iterator[str]:
    """The book, unchanged.

    Raises:
        DataError: the file is missing and cannot be downloaded, or is not the book.
        StorageError: the data home cannot be read or written.
    """
    yield book(data_home() / FILE).decode("utf-8")


def book(path: Path, url: str = URL) -> bytes:
    """The bytes of the book from its file, which is downloaded if it is missing, and checked in either case.

    Args:
        path: the file.
        url: where to download it from.

    Raises:
        DataError: the download fails, or the file or the download is not the book.
        StorageError: the file cannot be read or written.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return _downloaded(path, url)
    except OSError as error:
        raise StorageError(f"{quoted(path)}: cannot be read, {error.strerror}") from error
    if (found := _sha1(content)) != SHA1:
        raise DataError(
            f"{quoted(path)}: not The Time Machine, its SHA-1 is {found} and should be {SHA1}: "
            "delete the file, and it is downloaded again"
        )
    return content


def _downloaded(path: Path, url: str) -> bytes:
    """The book from the network, saved only after its checksum was found right."""
    content = _fetched(path, url)
    if (found := _sha1(content)) != SHA1:
        raise DataError(
            f"{url} returned something else, {len(content):,} bytes that begin {content[:20]!r}, SHA-1 {found}, "
            f"which was not saved: {_by_hand(path)}"
        )
    with no_empty_folders(path.parent):
        with translate_os_errors("make", path.parent):
            make_folder(path.parent)
        replace_file(path, content)
    return content


def _fetched(path: Path, url: str) -> bytes:
    """The contents of an address, at most `MAX_BYTES`."""
    if os.environ.get("ELMAN_OFFLINE", "0") not in {"", "0"}:
        raise DataError(f"time-machine is not on this computer and ELMAN_OFFLINE is set: {_by_hand(path)}")
    import http.client
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 - the address is ours, not input
            if answer.status != 200:
                raise DataError(f"{url} answered with status {answer.status}: {_by_hand(path)}")
            content: bytes = answer.read(MAX_BYTES)
            return content
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{url} answered with status {error.code}: {_by_hand(path)}") from error
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{url} cannot be downloaded ({error}): {_by_hand(path)}") from error


def _by_hand(path: Path) -> str:
    return f"save the book yourself as {quoted(path)} (SHA-1 {SHA1})"


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


SOURCE = Source(
    name="time-machine",
    description="The Time Machine by H. G. Wells, 178,979 characters (downloaded once)",
    text=text,
).register()
