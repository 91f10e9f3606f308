"""Trials on the disk: what was measured once is read again, whoever asks with the same arguments.

    FOLDER/trials/MODULE.FUNCTION-HASH.json     arguments, value, CPU seconds

The hash is of the arguments, of the function's own source, and of the versions of elman and PyTorch: whoever edits the
function measures anew, whoever edits words or tolerances does not. Experiments may share trials.
"""

import hashlib
import inspect
import json
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from importlib import metadata
from multiprocessing.pool import Pool
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from elman.errors import printable
from elman.storage.atomic import make_folder, replace_file, translate_os_errors

_T = TypeVar("_T")
Measure = Callable[..., Any]
PROCESSES = 2  # trials at a time; each trains on one thread
WORDS: dict[str, float] = {"infinite": math.inf, "-infinite": -math.inf, "not a number": math.nan}


class Trial(NamedTuple):
    """A call that is measured, and the file of what it gave."""

    measure: Measure
    arguments: Mapping[str, Any]
    path: Path

    def __str__(self) -> str:
        return f"{_name(self.measure)}({', '.join(f'{k}={v!r}' for k, v in self.arguments.items())})"


class TrialCache:
    """A `Runner` whose trials are files; several at once run in processes of their own.

    Args:
        folder: where they are.
        quick: see `Runner.quick`.
        fresh: measure again what is there.
        say: told what is being measured, a line at a time.
    """

    def __init__(
        self, folder: Path, *, quick: bool = False, fresh: bool = False, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.folder, self._quick, self.fresh, self.say = folder / "trials", quick, fresh, say
        self.cpu_seconds = 0.0
        """Of all trials asked for since this was set to 0, those that were read included."""
        self._new: set[Path] = set()
        self._stack = ExitStack()
        self._pool: Pool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    @property
    def quick(self) -> bool:
        """Whether figures are of no interest."""
        return self._quick

    def choose(self, whole: _T, quick: _T) -> _T:
        """The first; or the second, in a quick run."""
        return quick if self._quick else whole

    def trial(self, measure: Callable[..., _T], /, **arguments: Any) -> _T:
        """`measure(**arguments)`, or what it gave before.

        Raises:
            StorageError: the disk refuses.
        """
        return self.trials(measure, [arguments])[0]

    def trials(self, measure: Callable[..., _T], cases: Iterable[Mapping[str, Any]]) -> list[_T]:
        """The same for each of several arguments, side by side where there are cores.

        Raises:
            StorageError: the disk refuses.
        """
        asked = [Trial(measure, case, self.folder / _file(measure, case)) for case in cases]
        missing = {t.path: t for t in asked if self._is_stale(t.path) or self._read(t.path) is None}
        if missing:
            with translate_os_errors("make", self.folder):
                make_folder(self.folder)
            self._measure(list(missing.values()))
        found = [self._read(trial.path) or {} for trial in asked]
        self.cpu_seconds += sum(each["cpu_seconds"] for each in found)
        return [each["value"] for each in found]

    def _is_stale(self, path: Path) -> bool:
        return self.fresh and path not in self._new

    def _measure(self, missing: list[Trial]) -> None:
        """Measure what is missing; what is finished is on the disk, whatever happens to the rest."""
        for trial in missing:
            self.say(f"{trial} ...")
        alone = len(missing) == 1 or self._quick or (os.cpu_count() or 1) < PROCESSES
        done = map(_measured, missing) if alone else self._processes().imap_unordered(_measured, missing)
        for trial, seconds in done:
            self._new.add(trial.path)
            self.say(f"{trial}: {seconds:.1f} CPU seconds")

    def _processes(self) -> Pool:
        """The processes, begun when they are first needed: not copies of this one, whose threads they would miss."""
        if self._pool is None:
            made = multiprocessing.get_context("spawn").Pool(PROCESSES, _begin_process)
            self._pool = self._stack.enter_context(made)
        return self._pool

    def _read(self, path: Path) -> dict[str, Any] | None:
        """A trial that was finished, or None; a damaged file counts as none, and is told."""
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return {"value": restored(found["value"]), "cpu_seconds": float(found["cpu_seconds"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.say(f"{printable(path)} cannot be read ({error}): measured again")
            return None


def _begin_process() -> None:
    """One thread, for PyTorch is not loaded yet; and an interruption is the business of who began this."""
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _measured(trial: Trial) -> tuple[Trial, float]:
    """Measure, write, and tell the CPU seconds."""
    began, cpu = time.perf_counter(), time.process_time()
    value = trial.measure(**trial.arguments)
    seconds = time.process_time() - cpu
    found = {
        "trial": _name(trial.measure),
        "arguments": dict(trial.arguments),
        "cpu_seconds": seconds,
        "seconds": time.perf_counter() - began,
        "value": value,
    }
    replace_file(trial.path, json.dumps(plain(found), indent=1, allow_nan=False).encode())
    return trial, seconds


def _name(measure: Measure) -> str:
    return f"{measure.__module__.rpartition('.')[2]}.{measure.__name__}"


def _file(measure: Measure, arguments: Mapping[str, Any]) -> str:
    """The name of the file of a call."""
    told = [dict(arguments), inspect.getsource(measure), metadata.version("elman"), metadata.version("torch")]
    return f"{_name(measure)}-{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]}.json"


def plain(value: Any) -> Any:
    """The value with words for the numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite" if value > 0 else "-infinite"
    return value


def restored(value: Any) -> Any:
    """The value with those numbers again."""
    if isinstance(value, Mapping):
        return {key: restored(each) for key, each in value.items()}
    if isinstance(value, list):
        return [restored(each) for each in value]
    return WORDS.get(value, value) if isinstance(value, str) else value
