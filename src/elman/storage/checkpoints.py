"""The checkpoints of a run: saved folders, of which the newest whole one is always found.

`step-000500`, ...: folder complete -> BEST -> LATEST -> older ones deleted
"""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from elman.errors import ConfigError, ModelError, StorageError, quoted
from elman.storage.atomic import remove_folder, remove_stale_temporaries, replace_file, translate_os_errors
from elman.storage.folder import MANIFEST, Saved, Tensors, read_folder, write_folder
from elman.storage.tensors import damaged

LATEST = "LATEST"
BEST = "BEST"


class Checkpoints:
    """The folder `root` of a run's checkpoints: saved folders `step-000500`, and the files LATEST and BEST.

    A checkpoint counts as saved once LATEST names it. Saving step 450 removes the checkpoints of step 450 and
    later that an earlier run of these steps has left.

    LATEST and BEST hold a line for `sha256sum --check`: the digest of the manifest and its path. So they name
    one exact checkpoint, and a damaged line cannot name another one by chance.

    Args:
        root: the folder, made by the first save.
        keep: how many of the newest are kept (>= 1), beside the one that BEST names.
        existing: whether the folder must be there at the first save already, as it must at every later one.

    Raises:
        ConfigError: `keep` is below 1.
    """

    def __init__(self, root: Path, keep: int = 2, *, existing: bool = False) -> None:
        if keep < 1:
            raise ConfigError(f"keep is {keep}, but at least 1 checkpoint has to be kept")
        self.root = root
        self.keep = keep
        self._existing = existing
        self.skipped: tuple[str, ...] = ()
        """Why `latest` passed over LATEST or newer checkpoints the last time, one line each; to be shown."""

    def save(self, step: int, files: "Mapping[str, bytes | Tensors]", *, best: bool = False) -> Path:
        """Save a checkpoint, and remove those that are not kept.

        A step that exists is never overwritten: the new folder is `step-000500.2`, and the old one is removed once
        LATEST names the new one.

        Args:
            step: training steps done, >= 0.
            files: the contents of each file by its name, as bytes or as tensors.
            best: whether BEST names it too.

        Returns:
            Its folder.

        Raises:
            StorageError: the disk refuses; earlier checkpoints are then untouched. Or the folder has disappeared
                since the last save: it is not made anew, since the checkpoints that are missing would not be noticed.
        """
        if self._existing and not self.root.is_dir():
            raise StorageError(
                f"the folder of checkpoints {quoted(self.root)} has disappeared, so nothing can be saved there: "
                "put it back and resume the run, or begin a new run"
            )
        path = self.root / _step_name(step, 1 + max((n for s, n in self._numbers() if s == step), default=0))
        pointer = f"{write_folder(path, files)}  {path.name}/{MANIFEST}\n".encode()
        # BEST before LATEST: where LATEST names this checkpoint, BEST must too.
        for name in (BEST, LATEST) if best else (LATEST,):
            replace_file(self.root / name, pointer)
        self._existing = True
        self._prune(step, path)
        return path

    def latest(self, names: Collection[str] | None = None) -> Saved | None:
        """Open the newest whole checkpoint.

        It is the one that LATEST names. Only if that is missing or damaged it is the newest that is whole,
        and `skipped` gives the reason.

        Args:
            names: the files to read, which must be whole; None reads all. The others need only be there with the
                right size: they are checked when they are read.

        Returns:
            The checkpoint; None where none was ever completed.

        Raises:
            ModelError: there are checkpoints, but none is whole.
        """
        self.skipped = ()
        if not self._numbers() and not os.path.lexists(self.root / LATEST):
            return None
        try:
            return self._follow(LATEST, names)
        except (ModelError, StorageError) as error:
            return self._newest_whole([str(error)], names)

    def best(self, names: Collection[str] | None = None) -> Saved | None:
        """Open the checkpoint that BEST names.

        Args:
            names: the files to read and check now; None reads all.

        Returns:
            The checkpoint; None without BEST.

        Raises:
            ModelError: BEST or the checkpoint is damaged.
        """
        return self._follow(BEST, names) if os.path.lexists(self.root / BEST) else None

    def remove_stale_temporaries(self) -> list[Path]:
        """Remove what interrupted saves left, and return it; call it while holding the run's lock."""
        return remove_stale_temporaries(self.root)

    @property
    def any(self) -> bool:
        """Whether there is a checkpoint, whole or not, or a pointer to one."""
        return bool(self._numbers()) or any(os.path.lexists(self.root / name) for name in (LATEST, BEST))

    def _numbers(self) -> list[tuple[int, int]]:
        with translate_os_errors("read", self.root):
            names = [path.name for path in self.root.iterdir()] if self.root.is_dir() else []
        return sorted(number for name in names if (number := _step_number(name)))

    def _follow(self, pointer: str, names: Collection[str] | None) -> Saved:
        path, digest = self._named(pointer)
        try:
            if (saved := read_folder(path, names=names)).digest != digest:
                raise damaged(quoted(path), f"it is not the checkpoint that {pointer} names")
        except (ModelError, StorageError):
            if self._named(pointer) == (path, digest):
                raise
            return self._follow(pointer, names)  # another process has saved the next and removed this one meanwhile
        return saved

    def _named(self, pointer: str) -> tuple[Path, str]:
        where = self.root / pointer
        with translate_os_errors("read", where):
            if not where.is_file():
                raise damaged(quoted(where), "it is missing")
            with where.open("rb") as file:
                line = file.read(1000).decode("ascii", "replace")
        found = re.fullmatch(rf"([0-9a-f]{{64}})  (.+)/{re.escape(MANIFEST)}\n", line)
        if not found or not _step_number(found[2]):
            raise damaged(quoted(where), "it does not name a checkpoint")
        return self.root / found[2], found[1]

    def _newest_whole(self, skipped: list[str], names: Collection[str] | None) -> Saved:
        for number in reversed(self._numbers()):
            try:
                saved = read_folder(self.root / _step_name(*number), names=names)
            except (ModelError, StorageError) as error:
                skipped.append(str(error))
            else:
                self.skipped = tuple(dict.fromkeys(skipped))
                return saved
        raise ModelError(f"every checkpoint in {quoted(self.root)} is damaged: {'. '.join(dict.fromkeys(skipped))}")

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
