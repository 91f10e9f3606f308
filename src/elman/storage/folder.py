"""Saved folders, whole or absent: after a crash a folder is complete or not there.

    write_folder    temporary folder -> files -> MANIFEST.json -> rename: one instant makes it all visible
    read_folder     the exact set of files and their sizes agree; the SHA-256 of each file before it is parsed

Each step is flushed to the disk before the next relies on it, so the order survives a loss of power too. The
manifest detects damage; it is no signature: anybody can write one that agrees. The contents are checked
again by `elman.storage.tensors`, therefore, and nothing in them is ever run.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from elman.errors import ConfigError, ModelError, quoted
from elman.storage.atomic import (
    make_folder,
    sync_folder,
    temporary_path,
    translate_os_errors,
    write_file,
)
from elman.storage.tensors import JSON_LIMIT, TensorSpecs, damaged, dump_tensors, load_tensors, strict_json

if TYPE_CHECKING:
    import numpy
    import torch

Tensors: TypeAlias = "Mapping[str, numpy.ndarray[Any, Any] | torch.Tensor]"

MANIFEST = "MANIFEST.json"

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def write_folder(path: Path, files: "Mapping[str, bytes | Tensors]") -> str:
    """Save files as a new folder, whole or not at all.

    Args:
        path: the folder, which must not exist; missing parents are made.
        files: the contents of each file by its name, as bytes or as tensors. Files get the mode 0666 less the umask.

    Returns:
        The SHA-256 of the manifest, which identifies the contents: `Saved.digest`.

    Raises:
        ConfigError: `path` exists, or a JSON file is too long to be read back.
        StorageError: the disk refuses. `path` is then absent (or whole, if only its last flush failed), and so is
            the temporary folder beside it; only a killed process leaves that behind, for `remove_stale_temporaries`.

    Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as runs:
    ...     digest = write_folder(Path(runs) / "gru", {"config.json": b'{"hidden": 256}'})
    ...     read_folder(Path(runs) / "gru").json("config.json")
    {'hidden': 256}
    """
    contents = {_writable(name): _encoded(name, value) for name, value in files.items()}
    manifest = _manifest({name: (len(data), _sha256(data)) for name, data in contents.items()})
    contents[MANIFEST] = manifest  # last: it exists only where all the others do
    with translate_os_errors("save", path, sum(map(len, contents.values()))):
        if os.path.lexists(path):
            raise ConfigError(f"{quoted(path)} exists already; choose another name or remove it first")
        make_folder(path.parent)
        with temporary_path(path) as fresh:
            fresh.mkdir()
            for name, data in contents.items():
                write_file(fresh / name, data)
            sync_folder(fresh)
            fresh.rename(path)
        sync_folder(path.parent)
    return _sha256(manifest)


def _writable(name: str) -> str:
    if not _FILE_NAME.fullmatch(name) or name == MANIFEST:
        raise ValueError(f"{name!r} cannot name a file of a saved folder")
    return name


def _encoded(name: str, value: "bytes | Tensors") -> bytes:
    data = value if isinstance(value, bytes) else dump_tensors(value)
    if name.endswith(".json") and len(data) > JSON_LIMIT:
        raise ConfigError(f"{name} would have {len(data)} bytes, and at most {JSON_LIMIT} can be saved")
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Saved:
    """A saved folder that was opened: each file is read once, and checked before it is parsed.

    Every method raises `ModelError` for a file that is not there, is damaged or does not hold what is expected.
    """

    path: Path
    digest: str
    """The SHA-256 of the manifest, which identifies the contents."""
    listed: Mapping[str, tuple[int, str]]
    """The size in bytes and the SHA-256 of each file, from the manifest."""
    files: dict[str, bytes] = field(default_factory=dict)
    """The bytes of each file read so far, which were found to agree with the manifest."""

    def read(self, name: str) -> bytes:
        """The bytes of the file `name`, read and hashed the first time only."""
        if name not in self.listed:
            raise damaged(quoted(self.path), f"the file {name} is missing")
        if name not in self.files:
            with translate_os_errors("read", self.path):
                self.files[name] = _read_checked(self.path / name, *self.listed[name])
        return self.files[name]

    def json(self, name: str) -> Any:
        """The value of the JSON file `name`, read as strictly as `elman.storage.tensors.strict_json` does."""
        return strict_json(self.read(name), self._where(name))

    def text(self, name: str) -> str:
        """The contents of the text file `name`, which must be UTF-8."""
        try:
            return self.read(name).decode()
        except UnicodeDecodeError as error:
            raise damaged(self._where(name), str(error)) from error

    def tensors(self, name: str, expected: "TensorSpecs | None") -> "dict[str, torch.Tensor]":
        """The tensors of a safetensors file, on the CPU.

        Args:
            name: the file.
            expected: the shape and dtype of each tensor, from a configuration already validated; exactly these
                must be there, which is checked before anything is allocated. None accepts whatever is there.

        Returns:
            Each tensor by name.

        Raises:
            ModelError: the file is missing, damaged, or holds other tensors.
        """
        return load_tensors(self.read(name), expected, self._where(name))

    def _where(self, name: str) -> str:
        return quoted(self.path / name)


def read_folder(path: Path, *, names: Collection[str] | None = None) -> Saved:
    """Open a saved folder: manifest, exact set of files and sizes are checked, and the SHA-256 of what is read.

    Args:
        path: the folder.
        names: the files to read and check now (the optimizer's is twice the model's); None reads all. Any other is
            read and checked when it is first used.

    Returns:
        The folder.

    Raises:
        ModelError: it is missing, damaged, or was not saved by elman.
        StorageError: the operating system refuses to read it.
    """
    with translate_os_errors("read", path):
        listed, digest = _read_manifest(path)
        _check_listing(path, listed)
    saved = Saved(path, digest, listed)
    for name in listed if names is None else names:
        saved.read(name)
    return saved


def _manifest(listed: Mapping[str, tuple[int, str]]) -> bytes:
    files = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in sorted(listed.items())}
    return json.dumps({"format": "elman folder", "version": 1, "files": files}, indent=1).encode() + b"\n"


def _read_manifest(path: Path) -> tuple[dict[str, tuple[int, str]], str]:
    where = quoted(path / MANIFEST)
    try:
        status = (path / MANIFEST).lstat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(
            f"{quoted(path)} is not a saved folder: it has no {MANIFEST}; choose one that elman has saved"
        ) from error
    if not stat.S_ISREG(status.st_mode) or status.st_size > JSON_LIMIT:
        raise damaged(where, "it is not a file of reasonable size")
    with (path / MANIFEST).open("rb") as file:
        data = file.read(status.st_size + 1)
    listed = _listed(strict_json(data, where), where)
    if _manifest(listed) != data:
        raise damaged(where, "it is not written as elman writes it")
    return listed, _sha256(data)


def _listed(manifest: object, where: str) -> dict[str, tuple[int, str]]:
    match manifest:
        case {"format": "elman folder", "version": int(version)} if version > 1:
            raise ModelError(f"{where} has the format version {version}, this elman reads 1; install a newer elman")
        case {"format": "elman folder", "version": 1, "files": dict(files)}:
            return {name: _entry(name, entry, where) for name, entry in files.items()}
    raise damaged(where, "it is not a manifest of elman")


def _entry(name: str, entry: object, where: str) -> tuple[int, str]:
    match entry:
        case {"bytes": int(size), "sha256": str(digest)}:
            return size, digest
    raise damaged(where, f"its entry for {name!r:.60} is not a size and a digest")


def _check_listing(path: Path, listed: Mapping[str, tuple[int, str]]) -> None:
    missing = set(listed)
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name == MANIFEST:
                continue
            if entry.name not in listed or not entry.is_file(follow_symlinks=False):
                raise damaged(quoted(path), f"{entry.name!r:.60} does not belong there")
            _check_size(path / entry.name, entry.stat(follow_symlinks=False).st_size, listed[entry.name][0])
            missing.discard(entry.name)
    if missing:
        raise damaged(quoted(path), f"the file {min(missing)!r:.60} is missing")


def _check_size(path: Path, found: int, size: int) -> None:
    if found != size:
        raise damaged(quoted(path), f"it has {found} bytes instead of {size}")


def _read_checked(path: Path, size: int, digest: str) -> bytes:
    with path.open("rb") as file:
        data = file.read(size + 1)
    _check_size(path, len(data), size)
    if _sha256(data) != digest:
        raise damaged(quoted(path), "its SHA-256 is not the one in the manifest")
    return data
