"""Reading what anybody may have written: files of limited size and kind, and one sentence for whatever a parser raises.

read_limited    path -> bytes      a regular file, opened without waiting, of at most so many bytes
parsing         any exception of a parser -> one error with the name of what was read
real, whole     text -> number     written with the digits 0 to 9
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elman.errors import ElmanError, StorageError, one_line, quoted

SMALL = 16 * 2**20
"""Largest configuration or JSON document read, in bytes: a vocabulary of a million words fits."""
PARSER_ERRORS = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError, MemoryError)
"""What using a value of the wrong kind or size may raise, where a reader turns refusals of settings too."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_limited(path: Path, refused: type[ElmanError], what: str = "the file", limit: int = SMALL) -> bytes:
    """The bytes of a small file.

    Args:
        path: the file; a link is followed.
        refused: the class of the error where there is no such file, it is none, or is too large.
        what: what the file is, for messages: "the configuration".
        limit: bytes that are read at most.

    Returns:
        All of its bytes.

    Raises:
        ElmanError: of the class `refused`.
        StorageError: permission is missing, or the disk fails.
    """
    where = f"{what} {quoted(path)}"
    try:
        # Not blocking: opening a named pipe would wait for a writer.
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:
        raise refused(f"{where} cannot be read: no file has such a name") from error
    except OSError as error:
        if path.is_dir():  # Windows opens no folders
            raise refused(f"{where} cannot be read: it is a folder; give a file") from error
        failed = StorageError if isinstance(error, PermissionError) else refused
        raise failed(f"{where} cannot be read: {error.strerror}; check the name and the permissions") from error
    try:
        status = os.fstat(file)
        for is_kind, kind in _KINDS:
            if is_kind(status.st_mode):
                raise refused(f"{where} cannot be read: it is {kind}; give a file")
        with os.fdopen(os.dup(file), "rb") as reader:
            data = b"" if status.st_size > limit else reader.read(limit + 1)
    except OSError as error:
        raise StorageError(f"{where} cannot be read: {error.strerror}; check the disk") from error
    finally:
        os.close(file)
    if (size := max(status.st_size, len(data))) > limit:
        raise refused(f"{where} is too large: it has {size:,} bytes, and at most {limit:,} are read; give another file")
    return data


@contextmanager
def parsing(where: str, refused: type[ElmanError], remedy: str = "correct it") -> Iterator[None]:
    """The one place that turns whatever a parser of input can raise into one sentence.

    Args:
        where: what is read, with its name in quotes.
        refused: the class of the error.
        remedy: what the user can do.

    Raises:
        ElmanError: of the class `refused`, for every exception of the block but an `ElmanError`, which passes, and an
            `OSError`, which is no fault of what is read.
    """
    try:
        yield
    except (ElmanError, OSError):
        raise
    except Exception as error:
        raise refused(f"{where}: {reason(error)}; {remedy}") from error


def reason(error: Exception) -> str:
    """Why a parser failed, in a few words.

    Args:
        error: what it raised.

    Returns:
        A clause of at most 300 characters on one line.
    """
    match error:
        case RecursionError():
            return "it is nested too deeply"
        case MemoryError():
            return "it needs more memory than there is"
        case OverflowError():
            return "a number is too large"
        case UnicodeDecodeError():
            return f"not UTF-8, byte 0x{error.object[error.start]:02X} at offset {error.start}"
        case UnicodeEncodeError():
            return f"{error.object[error.start : error.start + 1]!a} is no character"
        case ValueError() if "integer string conversion" in str(error):
            return "a whole number has too many digits"
    return one_line(str(error))[:300] or type(error).__name__


def real(text: str) -> float:
    """The number that a text writes with the digits 0 to 9; Python itself takes the digits of every script.

    Args:
        text: such as "1.5", "-2e3" or "nan".

    Raises:
        ValueError: it is no number, or is written with other digits.

    Example:
        >>> real("1.5"), real("-2e3")
        (1.5, -2000.0)
    """
    if not text.isascii():
        raise ValueError(f"{text!r:.60} is not a number in the digits 0 to 9")
    return float(text)


def whole(text: str) -> int:
    """The whole number that a text writes with the digits 0 to 9.

    Args:
        text: such as "12".

    Raises:
        ValueError: it is no whole number, or is written with other digits.

    Example:
        >>> whole("12"), whole("-3")
        (12, -3)
    """
    if not text.isascii():
        raise ValueError(f"{text!r:.60} is not a whole number in the digits 0 to 9")
    return int(text)
