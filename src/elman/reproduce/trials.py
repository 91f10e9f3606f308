"""Trials on the disk: a measurement that was finished is read again when it is called with the same arguments.

    FOLDER/trials/MODULE.FUNCTION-HASH.json     arguments, value, CPU seconds

The hash is of the arguments, of the function's own source, and of the versions of elman and PyTorch: after a change of
the function it is measured anew, after a change of words or tolerances it is not. Experiments may share trials.
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
from elman.reading import PARSER_ERRORS
from elman.storage.atomic import make_folder, replace_file, translate_os_errors

_T = TypeVar("_T")
Measure = Callable[..., Any]
PROCESSES = 2  # trials in parallel, on one thread each
NUMBER_WORDS: dict[str, float] = {"infinite": math.inf, "-infinite": -math.inf, "not a number": math.nan}


class TrialCall(NamedTuple):
    """A call of a measuring function, and the file of its result."""

    measure: Measure
    arguments: Mapping[str, Any]
    path: Path

    def __str__(self) -> str:
        return f"{_name(self.measure)}({', '.join(f'{k}={v!r}' for k, v in self.arguments.items())})"


class TrialCache:
    """A `Runner` that keeps the results of trials in files; several trials run in processes of their own.

    Args:
        folder: the folder of the report; the trials are in `trials` below it.
        quick: see `Runner.quick`.
        fresh: measure again even if there is a file.
        on_progress: called with a line of text when a trial begins and ends.
    """

    def __init__(
        self,
        folder: Path,
        *,
        quick: bool = False,
        fresh: bool = False,
        on_progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder, self._quick, self.fresh, self.on_progress = folder / "trials", quick, fresh, on_progress
        self.cpu_seconds = 0.0
        """The cost of all trials since this was set to 0, including those whose results were read."""
        self._new: set[Path] = set()
        self._stack = ExitStack()
        self._pool: Pool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    @property
    def quick(self) -> bool:
        """Whether this is a quick run, see `Runner.quick`."""
        return self._quick

    def choose(self, full: _T, quick: _T) -> _T:
        """The value for this run, see `Runner.choose`."""
        return quick if self._quick else full

    def trial(self, measure: Callable[..., _T], /, **arguments: Any) -> _T:
        """Call a function, or read the result of an earlier call, see `Runner.trial`.

        Raises:
            StorageError: a file cannot be written.
        """
        return self.trials(measure, [arguments])[0]

    def trials(self, measure: Callable[..., _T], cases: Iterable[Mapping[str, Any]]) -> list[_T]:
        """Several trials, in parallel if there are cores, see `Runner.trials`.

        Raises:
            StorageError: a file cannot be written.
        """
        calls = [TrialCall(measure, case, self.folder / _file(measure, case)) for case in cases]
        missing = {t.path: t for t in calls if self._is_stale(t.path) or self._read(t.path) is None}
        if missing:
            with translate_os_errors("make", self.folder):
                make_folder(self.folder)
            self._measure(list(missing.values()))
        found = [self._read(trial.path) or {} for trial in calls]
        self.cpu_seconds += sum(each["cpu_seconds"] for each in found)
        return [each["value"] for each in found]

    def _is_stale(self, path: Path) -> bool:
        return self.fresh and path not in self._new

    def _measure(self, missing: list[TrialCall]) -> None:
        """Measure what is missing; each result is written to the disk as soon as it is finished."""
        for trial in missing:
            self.on_progress(f"{trial} ...")
        alone = len(missing) == 1 or self._quick or (os.cpu_count() or 1) < PROCESSES
        done = map(_measured, missing) if alone else self._processes().imap_unordered(_measured, missing)
        for trial, seconds in done:
            self._new.add(trial.path)
            self.on_progress(f"{trial}: {seconds:.1f} CPU seconds")

    def _processes(self) -> Pool:
        """The processes, started when first needed; spawned, since a fork of a process with threads may hang."""
        if self._pool is None:
            made = multiprocessing.get_context("spawn").Pool(PROCESSES, _begin_process)
            self._pool = self._stack.enter_context(made)
        return self._pool

    def _read(self, path: Path) -> dict[str, Any] | None:
        """The result of a finished trial, or None; a damaged file counts as none, with a message."""
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return {"value": decode_numbers(found["value"]), "cpu_seconds": float(found["cpu_seconds"])}
        except (OSError, *PARSER_ERRORS) as error:
            self.on_progress(f"{printable(path)} cannot be read ({error}): measured again")
            return None


def _begin_process() -> None:
    """Use one thread (PyTorch is not loaded yet), and leave an interruption to the parent process."""
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _measured(trial: TrialCall) -> tuple[TrialCall, float]:
    """Measure, write the result, and give the CPU seconds."""
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
    replace_file(trial.path, json.dumps(encode_numbers(found), indent=1, allow_nan=False).encode())
    return trial, seconds


def _name(measure: Measure) -> str:
    return f"{measure.__module__.rpartition('.')[2]}.{measure.__name__}"


def _file(measure: Measure, arguments: Mapping[str, Any]) -> str:
    """The name of the file of a call."""
    key = [dict(arguments), inspect.getsource(measure), metadata.version("elman"), metadata.version("torch")]
    return f"{_name(measure)}-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]}.json"


def encode_numbers(value: Any) -> Any:
    """A copy of a JSON value with words for the numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: encode_numbers(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [encode_numbers(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite" if value > 0 else "-infinite"
    return value


def decode_numbers(value: Any) -> Any:
    """A copy of a JSON value with numbers for those words."""
    if isinstance(value, Mapping):
        return {key: decode_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [decode_numbers(each) for each in value]
    return NUMBER_WORDS.get(value, value) if isinstance(value, str) else value
