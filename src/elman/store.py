"""Saved folders, whole or absent: what a crash leaves on the disk is either complete or not there.

    write_folder    temporary folder -> files -> MANIFEST.json -> rename: one instant makes it all visible
    read_folder     the exact set of files, their sizes and SHA-256 agree before anything is parsed
    Checkpoints     `step-000500`, ...: folder complete -> BEST -> LATEST -> older ones deleted

Each step is flushed to the disk before the next relies on it, so the order survives a loss of power too. The
manifest detects damage; it is no signature: anybody can write one that agrees. What the files say is checked
again by `elman.tensors`, therefore, and nothing in them is ever run.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from elman.disk import (
    RunLock,
    make_folder,
    quoted,
    refusals,
    remove_folder,
    replace_file,
    sweep,
    sync_folder,
    temporary,
    write_file,
)
from elman.errors import ConfigError, ModelError, StorageError
from elman.tensors import JSON_LIMIT, damaged, dump_tensors, load_tensors, strict_json

if TYPE_CHECKING:
    import numpy
    import torch

__all__ = ["Checkpoints", "RunLock", "Saved", "read_folder", "replace_file", "sweep", "write_folder"]

Tensors: TypeAlias = "Mapping[str, numpy.ndarray[Any, Any] | torch.Tensor]"
Expected: TypeAlias = "Mapping[str, tuple[tuple[int, ...], torch.dtype]]"

MANIFEST = "MANIFEST.json"
LATEST = "LATEST"
BEST = "BEST"

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


# --- writing


def write_folder(path: Path, files: "Mapping[str, bytes | Tensors]") -> str:
    """Save `files` (name -> bytes, or name -> tensors) as the new folder `path`, whole or not at all.

    Missing parent folders are made. Files get the mode 0666 less the umask. Returns the `digest` by which
    `read_folder` knows the contents. `ConfigError` if `path` exists; `StorageError` if the disk refuses:
    `path` is then absent (or whole, if only its last flush failed), and so is the temporary folder beside it,
    which only a killed process leaves behind, for `sweep`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as runs:
    ...     digest = write_folder(Path(runs) / "gru", {"config.json": b'{"hidden": 256}'})
    ...     read_folder(Path(runs) / "gru").json("config.json")
    {'hidden': 256}
    """
    contents = {_writable(name): _encoded(name, value) for name, value in files.items()}
    manifest = _manifest({name: (len(data), _sha256(data)) for name, data in contents.items()})
    contents[MANIFEST] = manifest  # last: it exists only where all the others do
    with refusals("save", path, sum(map(len, contents.values()))):
        if os.path.lexists(path):
            raise ConfigError(f"{quoted(path)} exists already; choose another name or remove it first")
        make_folder(path.parent)
        with temporary(path) as fresh:
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
        raise ConfigError(f"{name} would have {len(data)} bytes, at most {JSON_LIMIT} can be read back")
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- reading


@dataclass(frozen=True)
class Saved:
    """A saved folder whose files were found whole: what was checked is what these methods parse.

    `files` holds the bytes of each file asked for; `digest`, the SHA-256 of the manifest, identifies the
    contents. Every method raises `ModelError` for a file that is not there or does not hold what is asked.
    """

    path: Path
    digest: str
    files: Mapping[str, bytes]

    def json(self, name: str) -> Any:
        """The value of the JSON file `name`, read as strictly as `elman.tensors.strict_json` says."""
        return strict_json(self._bytes(name), self._where(name))

    def text(self, name: str) -> str:
        """The text file `name`, which must be UTF-8."""
        try:
            return self._bytes(name).decode()
        except UnicodeDecodeError as error:
            raise damaged(self._where(name), str(error)) from error

    def tensors(self, name: str, expected: "Expected | None") -> "dict[str, torch.Tensor]":
        """The tensors of the safetensors file `name`, on the CPU.

        `expected` is the shape and dtype of each, from a configuration already validated; exactly these must
        be there, which is checked before anything is allocated. `None` takes whatever is there.
        """
        return load_tensors(self._bytes(name), expected, self._where(name))

    def _bytes(self, name: str) -> bytes:
        if name not in self.files:
            raise damaged(quoted(self.path), f"the file {name} is missing")
        return self.files[name]

    def _where(self, name: str) -> str:
        return quoted(self.path / name)


def read_folder(path: Path, *, names: Collection[str] | None = None) -> Saved:
    """The saved folder `path`, checked: manifest, exact set of files, sizes, and SHA-256 of what is read.

    `names` limits the reading to these files (the optimizer's is twice the model's); all others must still be
    there with the right size. `ModelError` if the folder is missing, damaged or foreign, `StorageError` if
    the operating system refuses to read it.
    """
    with refusals("read", path):
        listed, digest = _read_manifest(path)
        _check_listing(path, listed)
        wanted = listed.keys() if names is None else names
        if missing := sorted(set(wanted) - listed.keys()):
            raise damaged(quoted(path), f"the file {missing[0]} is missing")
        return Saved(path, digest, {name: _read_checked(path / name, *listed[name]) for name in wanted})


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


# --- checkpoints


class Checkpoints:
    """The folder `root` of a run's checkpoints: saved folders `step-000500`, and the files LATEST and BEST.

    A checkpoint counts as saved once LATEST names it. The newest `keep` are kept, and the one that BEST
    names. A run has one course: saving step 450 removes what an abandoned one has left from step 450 on.

    LATEST and BEST hold a line for `sha256sum --check`: the digest of the manifest and its path. So they name
    one exact checkpoint, and a damaged line cannot name another one by chance.
    """

    def __init__(self, root: Path, keep: int = 2) -> None:
        if keep < 1:
            raise ConfigError(f"keep is {keep}, but at least 1 checkpoint has to be kept")
        self.root = root
        self.keep = keep
        self.skipped: tuple[str, ...] = ()
        """Why `latest` passed over LATEST or newer checkpoints the last time, one line each; to be shown."""

    def save(self, step: int, files: "Mapping[str, bytes | Tensors]", *, best: bool = False) -> Path:
        """Save the checkpoint of `step` (>= 0) and return its folder; `best` makes BEST name it too.

        A step that exists is never overwritten: the new folder is `step-000500.2`, and the old one goes once
        LATEST names the new one. `StorageError` if the disk refuses; those before are then untouched.
        """
        path = self.root / _step_name(step, 1 + max((n for s, n in self._numbers() if s == step), default=0))
        pointer = f"{write_folder(path, files)}  {path.name}/{MANIFEST}\n".encode()
        # BEST before LATEST: whoever resumes from LATEST must find in BEST the best that LATEST knows of.
        for name in (BEST, LATEST) if best else (LATEST,):
            replace_file(self.root / name, pointer)
        self._prune(step, path)
        return path

    def latest(self) -> Path | None:
        """The newest whole checkpoint, or None where none was ever completed.

        It is the one that LATEST names. Only if that is missing or damaged it is the newest that is whole,
        and `skipped` says why. `ModelError` if there are checkpoints but none is whole.
        """
        self.skipped = ()
        if not self._numbers() and not os.path.lexists(self.root / LATEST):
            return None
        try:
            return self._follow(LATEST)
        except (ModelError, StorageError) as error:
            return self._newest_whole([str(error)])

    def best(self) -> Path | None:
        """The checkpoint that BEST names, or None without BEST; `ModelError` if either is damaged."""
        return self._follow(BEST) if os.path.lexists(self.root / BEST) else None

    def sweep(self) -> list[Path]:
        """Remove what interrupted saves left, and return it; call it while holding the run's lock."""
        return sweep(self.root)

    def _numbers(self) -> list[tuple[int, int]]:
        with refusals("read", self.root):
            names = [path.name for path in self.root.iterdir()] if self.root.is_dir() else []
        return sorted(number for name in names if (number := _step_number(name)))

    def _follow(self, pointer: str) -> Path:
        path, digest = self._named(pointer)
        if read_folder(path).digest != digest:
            raise damaged(quoted(path), f"it is not the checkpoint that {pointer} names")
        return path

    def _named(self, pointer: str) -> tuple[Path, str]:
        where = self.root / pointer
        with refusals("read", where):
            if not where.is_file():
                raise damaged(quoted(where), "it is missing")
            with where.open("rb") as file:
                line = file.read(1000).decode("ascii", "replace")
        found = re.fullmatch(rf"([0-9a-f]{{64}})  (.+)/{re.escape(MANIFEST)}\n", line)
        if not found or not _step_number(found[2]):
            raise damaged(quoted(where), "it does not name a checkpoint")
        return self.root / found[2], found[1]

    def _newest_whole(self, skipped: list[str]) -> Path:
        for number in reversed(self._numbers()):
            path = self.root / _step_name(*number)
            try:
                read_folder(path)
            except (ModelError, StorageError) as error:
                skipped.append(str(error))
            else:
                self.skipped = tuple(skipped)
                return path
        raise ModelError(f"no checkpoint in {quoted(self.root)} is whole: {'. '.join(skipped)}")

    def _prune(self, step: int, saved: Path) -> None:
        older = [number for number in reversed(self._numbers()) if number[0] < step]
        kept = {saved} | {self.root / _step_name(*number) for number in older[: self.keep - 1]}
        if os.path.lexists(self.root / BEST):
            kept.add(self._named(BEST)[0])
        for number in self._numbers():
            if (path := self.root / _step_name(*number)) not in kept:
                remove_folder(path)


def _step_name(step: int, copy: int) -> str:
    return f"step-{step:06d}" if copy == 1 else f"step-{step:06d}.{copy}"


def _step_number(name: str) -> tuple[int, int] | None:
    """The step and copy of a checkpoint's folder; None for other names, left-overs and `step-500.bak` too."""
    found = re.fullmatch(r"step-([0-9]{6,18})(?:\.([0-9]{1,9}))?", name)
    number = (int(found[1]), int(found[2] or 1)) if found else None
    return number if number and _step_name(*number) == name else None
