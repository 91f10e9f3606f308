"""Atomic changes of the disk: each step is flushed before the next relies on it, and errors are one line.

    replace_file                temporary file -> flushed -> renamed over the old one
    remove_stale_temporaries    removes the temporary files and folders that interrupted saves left
    RunLock                     one process at a time in a run folder; the kernel releases it however the process ends

`elman.storage.folder` builds its folders from the other functions, inside of `translate_os_errors`.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from elman.errors import ConfigError, StorageError, quoted

LOCK = ".lock"
"""The file in a run folder that carries its lock."""
OWNER = ".lock.pid"
"""The file beside it with the number of the process that holds the lock."""

_LEFT_OVER = re.compile(r"\.tmp-[0-9a-f]{16}\Z")
_DISK_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.EBADF)  # from network file systems that cannot flush a folder


def replace_file(path: Path, data: bytes) -> None:
    """Replace the contents of a file: at every moment it is the old one or the new one.

    Args:
        path: the file, which need not exist; its folder must.
        data: the new contents.

    Raises:
        StorageError: the disk refuses; the old file is then untouched.
    """
    with translate_os_errors("write", path, len(data)):
        with temporary_path(path) as fresh:
            write_file(fresh, data)
            fresh.replace(path)
        sync_folder(path.parent)


def remove_stale_temporaries(folder: Path) -> list[Path]:
    """Remove what interrupted saves left directly in `folder`, and list it; no process may be saving there."""
    with translate_os_errors("clean", folder):
        left = sorted(p for p in folder.iterdir() if _LEFT_OVER.search(p.name)) if folder.is_dir() else []
        for path in left:
            remove(path)
    return left


def write_file(path: Path, data: bytes) -> None:
    """Write a new file with the mode 0666 less the umask, and flush it.

    Args:
        path: the file, which must not exist.
        data: its contents.

    Raises:
        OSError: the operating system refuses.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)


def make_folder(path: Path) -> None:
    """Make the folder `path` and its missing parents, and flush each entry; nothing where it exists.

    Another process may make the same folders, or remove one that is empty, at the same moment.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error
    except FileNotFoundError:
        if os.path.lexists(path.parent):
            raise
        make_folder(path)
    sync_folder(path.parent)


@contextlib.contextmanager
def no_empty_folders(path: Path) -> Iterator[None]:
    """If the block fails, remove the folder `path` and its parents again where the block made them and they are empty.

    Args:
        path: the folder that the block makes.
    """
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    try:
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError, ValueError):  # it holds something, was never made, or is no path
                folder.rmdir()
        raise


def is_unused(folder: Path, names: Collection[str], folders: Collection[str] = ()) -> bool:
    """Whether a folder holds nothing that anybody would miss, so that it may be taken over.

    Args:
        folder: an existing folder.
        names: files that may be in it: a program that ended early leaves them.
        folders: folders that may be in it if they are empty, but for what interrupted saves left.

    Returns:
        Whether nothing else is in it.
    """

    def is_left_over(path: Path) -> bool:
        return _LEFT_OVER.search(path.name) is not None

    def may_go(path: Path) -> bool:
        if path.is_dir() and not path.is_symlink():
            return path.name in folders and all(map(is_left_over, path.iterdir()))
        return path.name in names or is_left_over(path)

    return all(map(may_go, folder.iterdir()))


def new_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder with its first files; if that fails, nothing is left of it.

    Args:
        path: the folder, which must not exist or be empty; missing parents are made.
        files: the contents of each file by its name.

    Raises:
        StorageError: the disk refuses, or the folder holds something.
    """
    with no_empty_folders(path), translate_os_errors("make", path, sum(map(len, files.values()))):
        make_folder(path.parent)
        with temporary_path(path) as fresh:
            fresh.mkdir()
            for name, data in files.items():
                write_file(fresh / name, data)
            sync_folder(fresh)
            if os.name == "nt" and path.is_dir():  # where a folder cannot be renamed onto an empty one
                path.rmdir()
            fresh.rename(path)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Flush the entries of the folder `path`: what was made, renamed and removed in it."""
    if os.name == "nt":  # Windows cannot open a folder to flush it
        return
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(folder)


def remove(path: Path) -> None:
    """Remove the folder or the file `path`, if it is there; a link is removed, not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_path(path: Path) -> Iterator[Path]:
    """A new name beside `path` that `remove_stale_temporaries` recognises; removed if the block fails."""
    # 40 characters are at most 160 bytes: the name stays below the 255 that file systems allow.
    fresh = path.with_name(f"{path.name[:40]}.tmp-{secrets.token_hex(8)}")
    try:
        yield fresh
    except BaseException:
        with contextlib.suppress(OSError):  # the failure to report is the one that led here
            remove(fresh)
        raise


@contextlib.contextmanager
def translate_os_errors(action: str, path: Path, needed: int = 0) -> Iterator[None]:
    """Turn errors of the operating system into errors of one line with the path, the cause and the remedy.

    Args:
        action: what is being done, as in "cannot save".
        path: the file or folder.
        needed: bytes to be written, for the message of a full disk.

    Raises:
        StorageError: for an `OSError` in the block.
        ConfigError: for a `ValueError`, by which Python refuses paths that no file system has.
    """
    try:
        yield
    except ValueError as error:  # a NUL or a lone surrogate: no file system has such a name
        raise ConfigError(f"{quoted(path)} is not a usable path: {error}; choose another name") from error
    except OSError as error:
        raise StorageError(f"cannot {action} {quoted(path)}: {_reason(path, needed, error)}") from error


def _reason(path: Path, needed: int, error: OSError) -> str:
    why = error.strerror or str(error)
    if error.errno not in _DISK_FULL:
        return f"{why}; check the disk and the permissions, or choose another folder"
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    # Bytes may be free where there is no room: a quota, a limit of a file's size, a limit of their number.
    remedy = "make room" if free < needed else "make room, or raise the quota or `ulimit -f`"
    sizes = f"{needed} bytes are needed and {free} are free" if needed else f"{free} bytes are free"
    return f"{why}; {sizes}: {remedy}, then try again"


def remove_folder(path: Path) -> None:
    """Remove the folder `path`, renamed first: it is never found incomplete under its name."""
    with translate_os_errors("remove", path), temporary_path(path) as fresh:
        path.rename(fresh)
        shutil.rmtree(fresh)


class RunLock:
    """Holds a run folder for this process until the block ends; a second holder gets a `ConfigError`.

    The kernel releases the lock when the process ends, however it ends; the file that carries it stays, and means
    nothing by itself. The number of the process stands in a file of its own: Windows lets nobody read a locked one.
    Whoever holds it may enter it again: it is released with the outermost block.

    Args:
        folder: the run folder, which is made if need be.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, RunLock(Path(folder)):
        ...     with RunLock(Path(folder)):  # doctest: +ELLIPSIS
        ...         pass
        Traceback (most recent call last):
        elman.errors.ConfigError: the run folder ... is in use by process ...; wait for it to end or ...
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._owner = folder / OWNER
        self._lock = FileLock(folder / LOCK, timeout=0, thread_local=False)

    def __enter__(self) -> "RunLock":
        with translate_os_errors("lock", self.folder):
            make_folder(self.folder)
            try:
                self._lock.acquire()
            except Timeout as error:
                raise ConfigError(
                    f"the run folder {quoted(self.folder)} is in use by {self._holder()}; "
                    "wait for it to end or choose another folder"
                ) from error
        with contextlib.suppress(OSError):  # it only makes the message above clearer
            self._owner.write_text(str(os.getpid()))
        return self

    def _holder(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            return f"process {int(self._owner.read_bytes()[:20])}"
        return "another process"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock.lock_counter == 1:  # the outermost block
            with contextlib.suppress(OSError):
                self._owner.unlink()
        self._lock.release()
