"""Reading text a chunk at a time: plain and compressed files, folders, patterns, standard input.

    path -> bytes, decompressed -> checked for what is not text -> UTF-8 decoded

Memory is bounded by the chunk, not by the file: nothing here calls `read()` or `readline()` on a whole file,
and a decompression bomb is stopped while it expands.
"""

import codecs
import glob
import gzip
import hashlib
import logging
import os
import select
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal, TextIO, TypeVar

from elman.errors import ConfigError, DataError, StorageError, quoted

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import zstandard

Piece = TypeVar("Piece", str, bytes)
DecodingErrors = Literal["strict", "replace"]

LOGGER: Final = logging.getLogger("elman")
"""Hears what is waited for; the command line shows it."""
PATIENCE: Final = 1.0
"""Seconds without input until it does."""
CHUNK: Final = 256 << 10
"""Bytes read, and decompressed, at a time: little enough to stay in a processor's cache."""
MAX_RATIO: Final = 200
"""A compressed file may expand to this many times its size ..."""
FREE_BYTES: Final = 64 << 20
"""... and to this many bytes whatever the ratio."""
HEAD: Final = 16
"""Bytes that tell what kind of file it is."""

UTF16_32: Final = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
BINARY: Final = {
    b"\x7fELF": "an ELF program",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"PK\x03\x04": "a ZIP archive",
    b"PAR1": "a Parquet table",
    b"%PDF-": "a PDF",
    b"SQLite format 3\0": "an SQLite database",
}
COMPRESSED: Final = {
    b"\x1f\x8b": ("gzip", ".gz", "zcat"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", ".zst", "zstdcat"),
    b"\xfd7zXZ\0": ("xz", "", "xzcat"),
    b"BZh91AY&SY": ("bzip2", "", "bzcat"),
}


OnFile = Callable[[str, bytes], None]
"""Called with the name of each file that was read to its end, and the SHA-256 of its contents."""
OnMark = Callable[[], None]
"""Called for each file that begins with a byte order mark."""
MARK: Final = "\ufeff"
"""The byte order mark, with which some programs begin a file; it is no token of the text."""


def text_chunks(
    paths: Sequence[str | Path],
    *,
    errors: DecodingErrors = "strict",
    size: int = CHUNK,
    end_lines: bool = True,
    on_file: OnFile | None = None,
    on_mark: OnMark | None = None,
) -> Iterator[str]:
    """The text of some paths, one after the other, in pieces. Line ends are kept, a leading byte order mark is not.

    The end of a file ends a line: where its last line has no end and another file follows, there is one between them.

    Args:
        paths: each a file, a folder (every regular file below it that is not hidden, sorted), a glob pattern, or "-"
            for standard input; files in `.gz` and `.zst` are decompressed.
        errors: "strict" refuses bytes that are not UTF-8, "replace" reads them as U+FFFD.
        size: the largest piece, in bytes, approximately.
        end_lines: whether the end of a file ends a line; version 0.1 joined the last line of a file and the first of
            the next.
        on_file: told of each file.
        on_mark: told of each byte order mark that was left out.

    Raises:
        DataError: a path is missing or holds no text: empty, binary, not UTF-8 (with the offset of the first
            bad byte, counted after decompression), damaged, or a decompression bomb.
        StorageError: reading is not permitted or fails.
        ConfigError: no path was given; or a `.zst` file, and the package that reads it is not installed.
    """
    files = (_decoded(_told(_raw(path, size), path, on_file), path, errors, on_mark) for path in _files(paths))
    return _nonempty(separated(files, "\n", ("\n", "\r")) if end_lines else chain.from_iterable(files), paths)


def byte_chunks(
    paths: Sequence[str | Path],
    *,
    size: int = CHUNK,
    end_lines: bool = True,
    on_file: OnFile | None = None,
    on_mark: OnMark | None = None,
) -> Iterator[bytes]:
    """The bytes of some paths, one after the other, in pieces; compressed files are decompressed.

    A byte order mark at the beginning of a file is left out, as `text_chunks` does.

    Args:
        paths: as for `text_chunks`.
        size: the largest piece, in bytes, approximately.
        end_lines: as for `text_chunks`.
        on_file: as for `text_chunks`.
        on_mark: as for `text_chunks`.

    Raises:
        DataError: a path is missing, empty, damaged, or a decompression bomb.
        StorageError: reading is not permitted or fails.
        ConfigError: as for `text_chunks`.
    """
    files = (_unmarked(_told(_raw(path, size), path, on_file), on_mark) for path in _files(paths))
    return _nonempty(separated(files, b"\n", (b"\n", b"\r")) if end_lines else chain.from_iterable(files), paths)


def separated(texts: Iterable[Iterable[Piece]], end: Piece, ends: tuple[Piece, ...]) -> Iterator[Piece]:
    """The pieces of texts one after the other, with the end of a line between two where the first has none.

    Args:
        texts: each in pieces.
        end: the end of a line.
        ends: what ends a line already.
    """
    last = end
    for pieces in texts:
        begun = False
        for piece in pieces:
            if not piece:
                continue
            if not begun and last[-1:] not in ends:
                yield end
            begun, last = True, piece
            yield piece


def _told(pieces: Iterator[bytes], path: str | Path, on_file: OnFile | None) -> Iterator[bytes]:
    """The same bytes; then their digest is told."""
    if on_file is None:
        yield from pieces
        return
    sha = hashlib.sha256()
    for piece in pieces:
        sha.update(piece)
        yield piece
    on_file(_name(path), sha.digest())


def _unmarked(pieces: Iterator[bytes], on_mark: OnMark | None) -> Iterator[bytes]:
    """The same bytes without a byte order mark at their beginning."""
    head = b""
    while len(head) < len(codecs.BOM_UTF8) and (piece := next(pieces, b"")):
        head += piece
    if head.startswith(codecs.BOM_UTF8) and on_mark:
        on_mark()
    yield head.removeprefix(codecs.BOM_UTF8)
    yield from pieces


def _nonempty(pieces: Iterable[Piece], paths: Sequence[str | Path]) -> Iterator[Piece]:
    """Every piece that is not empty, of which there must be one."""
    found = False
    for piece in pieces:
        if piece:
            found = True
            yield piece
    if not found:
        raise DataError(f"{', '.join(map(_name, paths))}: empty, there is nothing to read")


def _name(path: str | Path) -> str:
    return "standard input" if str(path) == "-" else quoted(path)


def _files(paths: Sequence[str | Path]) -> Iterator[str | Path]:
    """Every file that the paths name, in order."""
    if not paths:
        raise ConfigError("no path to read was given: give a file, a folder, a pattern, or - for standard input")
    for path in paths:
        if not str(path):
            raise ConfigError("the name of a text is empty: give a file, a folder, a pattern, or - for standard input")
        yield from ["-"] if str(path) == "-" else _expanded(Path(path))


def _expanded(path: Path) -> list[Path]:
    """The file, the files of the folder, or the matches of the pattern."""
    try:
        mode = path.stat().st_mode
    except PermissionError as error:
        raise StorageError(f"{_name(path)}: no permission to read it") from error
    except (OSError, ValueError) as error:
        return _matches(path, error)
    if stat.S_ISDIR(mode):
        return _below(path)
    if stat.S_ISBLK(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode):
        raise DataError(f"{_name(path)}: a device, not a file: give a text file, or - for standard input")
    return [path]


def _matches(path: Path, error: Exception) -> list[Path]:
    """The files that match a pattern, sorted."""
    if path.is_symlink():
        raise DataError(f"{_name(path)}: a broken link, what it points to does not exist") from error
    if not glob.has_magic(str(path)):
        raise DataError(f"{_name(path)}: no such file or folder") from error
    found = sorted(Path(match) for match in glob.glob(str(path), recursive=True) if not Path(match).is_dir())  # noqa: PTH207 - an absolute pattern is refused by Path.glob
    if not found:
        raise DataError(f"{_name(path)}: no file matches this pattern") from error
    return found


def _below(folder: Path) -> list[Path]:
    """Every regular file below a folder that is not hidden, sorted by path."""

    def refused(error: OSError) -> None:
        raise StorageError(f"{quoted(error.filename)}: cannot be listed, {error.strerror}") from error

    found: list[Path] = []
    for top, folders, names in os.walk(folder, onerror=refused):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visible = [Path(top, name) for name in names if not name.startswith(".")]
        found += [path for path in visible if path.is_file() or path.is_symlink()]
    if not found:
        raise DataError(f"{_name(folder)}: a folder without files to read (hidden files are not read)")
    return sorted(found)


def _raw(path: str | Path, size: int) -> Iterator[bytes]:
    """The decompressed bytes of one file; whatever goes wrong names the file."""
    name = _name(path)
    try:
        with _opened(path) as file:
            unpack = {".gz": _gunzipped, ".zst": _unzstd}.get(Path(path).suffix.lower(), _plain)
            if unpack is _plain:
                yield from _plain(file, size)
            else:
                yield from _no_bomb(unpack(file, size), file, name)
    except FileNotFoundError as error:
        kind = "a broken link" if Path(path).is_symlink() else "the file has gone"
        raise DataError(f"{name}: {kind}") from error
    except EOFError as error:
        raise DataError(f"{name}: cut short, the compressed data ends too early: download or copy it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{name}: damaged or not gzip ({error}): download or copy it again") from error
    except PermissionError as error:
        raise StorageError(f"{name}: no permission to read it") from error
    except OSError as error:
        raise StorageError(f"{name}: cannot be read, {error.strerror or error}") from error


def _opened(path: str | Path) -> "AbstractContextManager[IO[bytes]]":
    if str(path) != "-":
        return _opened_pipe(Path(path)) if stat.S_ISFIFO(Path(path).stat().st_mode) else Path(path).open("rb")
    stdin: TextIO | None = sys.stdin  # None in a process without one, which typeshed does not declare
    if stdin is None or stdin.closed:
        raise DataError("standard input is closed: give a file, or pipe a text in")
    with suppress(OSError, ValueError):  # no stream of the operating system, so there is nothing to wait for
        _say_waiting(stdin.fileno(), "standard input")
    return nullcontext(stdin.buffer)  # the caller's, so it stays open


def _opened_pipe(path: Path) -> IO[bytes]:
    """A named pipe, once it has a writer; a signal interrupts the waiting."""
    if sys.platform != "linux":  # elsewhere only an open that waits tells that there is a writer
        LOGGER.info("waiting for a writer of the named pipe %s", _name(path))
        return path.open("rb")
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _say_waiting(file, f"a writer of the named pipe {_name(path)}")
        select.select([file], [], [])
        os.set_blocking(file, True)
        return os.fdopen(file, "rb")
    except BaseException:
        os.close(file)
        raise


def _say_waiting(file: int, what: str) -> None:
    """Say what is waited for, where a pipe or a terminal gives nothing for a second."""
    if os.name != "nt" and not select.select([file], [], [], PATIENCE)[0]:  # Windows can only ask sockets
        LOGGER.info("waiting for %s; Ctrl-C ends it", what)


def _plain(file: IO[bytes], size: int) -> Iterator[bytes]:
    while piece := file.read(size):
        yield piece


def _gunzipped(file: IO[bytes], size: int) -> Iterator[bytes]:
    """All members of a gzip file, checksums verified."""
    with gzip.GzipFile(fileobj=file) as unpacked:
        yield from _plain(unpacked, size)  # type: ignore[arg-type]  # GzipFile is no IO[bytes] to typeshed


def _no_bomb(pieces: Iterator[bytes], file: IO[bytes], name: str) -> Iterator[bytes]:
    """The same pieces, stopped where they outgrow the compressed bytes behind them beyond reason."""
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > FREE_BYTES and total > MAX_RATIO * file.tell():
            raise DataError(
                f"{name}: expands to more than {MAX_RATIO} times its size (a decompression bomb?): "
                "if you trust it, decompress it first and give the result"
            )
        yield piece


def _unzstd(file: IO[bytes], size: int) -> Iterator[bytes]:
    """All frames of a Zstandard file, in pieces of at least `size` bytes until the last."""
    if sys.version_info >= (3, 14):
        from compression import zstd

        with zstd.ZstdFile(file) as unpacked:
            try:
                yield from _plain(unpacked, size)
            except zstd.ZstdError as error:
                raise _bad_zstd(file, error) from error
    else:
        try:
            import zstandard
        except ImportError as error:
            raise ConfigError(
                f'{quoted(file.name)}: reading .zst needs zstandard: pip install "elman[data]"'
            ) from error
        try:
            yield from _gathered(_zstd_frames(file, zstandard.ZstdDecompressor().decompressobj), size)
        except zstandard.ZstdError as error:
            raise _bad_zstd(file, error) from error


def _zstd_frames(file: IO[bytes], frame: Callable[[], "zstandard.ZstdDecompressionObj"]) -> Iterator[bytes]:
    """The output of one frame after the other.

    Fed 1 KiB at a time, because the decompressor has no bound on its output: 4 bytes can stand for 128 KiB.
    """
    current = None
    while piece := file.read(1 << 10):
        while piece:
            current = current or frame()
            yield current.decompress(piece)
            piece = current.unused_data if current.eof else b""
            if current.eof:
                current = None
    if current:
        raise EOFError


def _gathered(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of at least `size`, but for the last."""
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= size:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def _bad_zstd(file: IO[bytes], error: Exception) -> DataError:
    if "memory" in str(error):
        return DataError(
            f"{quoted(file.name)}: needs a decompression window above the safe limit of 128 MiB: "
            "decompress it first (zstd -d --long=31) and give the result"
        )
    return DataError(f"{quoted(file.name)}: damaged or not Zstandard ({error}): download or copy it again")


def _decoded(
    pieces: Iterator[bytes], path: str | Path, errors: DecodingErrors, on_mark: OnMark | None
) -> Iterator[str]:
    """UTF-8 text of one file, without its byte order mark."""
    name = _name(path)
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    at = 0
    for piece in _sniffed(pieces, name):
        text = _decode(decoder, piece, at, name)
        if not at and text.startswith(MARK):
            text = text.removeprefix(MARK)
            if on_mark:
                on_mark()
        yield text
        at += len(piece)
    yield _decode(decoder, b"", at, name, final=True)


def _decode(decoder: codecs.IncrementalDecoder, piece: bytes, at: int, name: str, *, final: bool = False) -> str:
    """One piece that begins at byte `at` of the file."""
    if b"\0" in piece:
        offset = at + piece.index(b"\0")
        raise DataError(
            f"{name}: binary, not text (a NUL byte at offset {offset}): use --tokens byte, or convert it "
            "to UTF-8 (iconv -f utf-16 -t utf-8) if it is UTF-16"
        )
    held = len(decoder.getstate()[0])
    try:
        return decoder.decode(piece, final)
    except UnicodeDecodeError as error:
        offset = at - held + error.start
        raise DataError(
            f"{name}: not UTF-8, byte 0x{error.object[error.start]:02X} at offset {offset}: convert it "
            '(iconv -f latin1 -t utf-8), use --tokens byte, or set errors = "replace" in the configuration'
        ) from error


def _sniffed(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The same bytes, refused if their beginning shows that they are no UTF-8 text."""
    head = b""
    while len(head) < HEAD and (piece := next(pieces, b"")):
        head += piece
    for mark, encoding in UTF16_32.items():
        if head.startswith(mark):
            new = f"iconv -f {encoding.lower()} -t utf-8"
            raise DataError(f"{name}: {encoding} text, not UTF-8: convert it ({new}), or use --tokens byte")
    for magic, (kind, suffix, tool) in COMPRESSED.items():
        if head.startswith(magic):
            way = f"give it a name that ends in {suffix}, or pipe it in ({tool})" if suffix else f"use {tool}"
            raise DataError(f"{name}: {kind} data, not text: {way}; --tokens byte reads it without decompression")
    for magic, kind in BINARY.items():
        if head.startswith(magic):
            raise DataError(f"{name}: {kind}, not plain text: extract its text, or use --tokens byte")
    yield head
    yield from pieces
