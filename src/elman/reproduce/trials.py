"""Trials on the disk: a finished measurement is read again when the same code is called with the same arguments.

    FOLDER/trials/MODULE.FUNCTION-HASH.json     arguments, value, CPU seconds, digest of the code

The hash is of the arguments, the code, and the place. The code is every source file of elman and the compiled engine
(`code_digest`), and the file of a function that lies elsewhere; the place is the versions of Python, PyTorch and NumPy,
and the instruction set. So any change of any source file has everything measured anew: what a function reaches is not
known without running it. The built-in texts are part of the code: they are made by it, or checked by a digest in it.
Experiments may share trials.
"""

import hashlib
import inspect
import json
import math
import multiprocessing
import os
import platform
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from importlib import metadata
from multiprocessing.pool import Pool
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import elman
from elman.errors import ConfigError, printable
from elman.reading import PARSER_ERRORS
from elman.storage.atomic import make_folder, replace_file, translate_os_errors

_T = TypeVar("_T")
Measure = Callable[..., Any]
PROCESSES = 2  # trials in parallel, on one thread each
PACKAGE = Path(elman.__file__).parent
CODE = (".py", ".pyi", ".so", ".pyd")
"""Suffixes of source files, of stubs (`elman` fetches its public names by one), and of compiled modules."""
NUMBER_WORDS: dict[str, float] = {"infinite": math.inf, "-infinite": -math.inf, "not a number": math.nan}


class TrialCall(NamedTuple):
    """A call of a measuring function, and the file of its result."""

    measure: Measure
    arguments: Mapping[str, Any]
    path: Path
    code: str

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
        self.code = code_digest()
        """The digest of the code that measures."""
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
            ConfigError: the code was changed in the meantime.
            StorageError: a file cannot be written.
        """
        return self.trials(measure, [arguments])[0]

    def trials(self, measure: Callable[..., _T], cases: Iterable[Mapping[str, Any]]) -> list[_T]:
        """Several trials, in parallel if there are cores, see `Runner.trials`.

        Raises:
            ConfigError: the code was changed in the meantime.
            StorageError: a file cannot be written.
        """
        calls = [TrialCall(measure, case, self.folder / _file(measure, case, self.code), self.code) for case in cases]
        missing = {t.path: t for t in calls if self._is_stale(t.path) or self._read(t.path) is None}
        if missing:
            _check_code(self.code)
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
    """Measure, write the result, and give the CPU seconds.

    Raises:
        ConfigError: the code on the disk is not that of the digest, so nobody knows which of the two was measured.
    """
    began, cpu = time.perf_counter(), time.process_time()
    value = trial.measure(**trial.arguments)
    seconds = time.process_time() - cpu
    _check_code(trial.code)
    found = {
        "trial": _name(trial.measure),
        "arguments": dict(trial.arguments),
        "code_sha256": trial.code,
        "cpu_seconds": seconds,
        "seconds": time.perf_counter() - began,
        "value": value,
    }
    replace_file(trial.path, json.dumps(encode_numbers(found), indent=1, allow_nan=False).encode())
    return trial, seconds


def _check_code(code: str) -> None:
    """Refuse to measure, or to keep what was measured, where the code on the disk is not that of the digest."""
    if code_digest() != code:
        raise ConfigError(
            "the code of elman was changed while results were measured, so which code gave them is not known: "
            "run the command again"
        )


def _name(measure: Measure) -> str:
    return f"{measure.__module__.rpartition('.')[2]}.{measure.__name__}"


def _file(measure: Measure, arguments: Mapping[str, Any], code: str) -> str:
    """The name of the file of a call."""
    key = [dict(arguments), _name(measure), measure.__module__, code, _source(measure), _place()]
    return f"{_name(measure)}-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]}.json"


def code_digest(package: Path = PACKAGE) -> str:
    """The SHA-256 of all code of a package: names and contents of its source files and compiled modules.

    Args:
        package: its folder, as it is installed.

    Returns:
        64 hexadecimal digits.

    Raises:
        StorageError: a file cannot be read.
    """
    digest = hashlib.sha256()
    with translate_os_errors("read", package):
        for path in sorted(package.rglob("*"), key=lambda p: p.relative_to(package).as_posix()):
            if path.suffix in CODE:
                name, content = path.relative_to(package).as_posix(), path.read_bytes()
                digest.update(f"{len(name)} {name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def _source(measure: Measure) -> str:
    """The text of a function, and of its file where that is not part of the package, as an experiment of a user."""
    file = inspect.getsourcefile(measure)
    elsewhere = file is not None and not Path(file).is_relative_to(PACKAGE)
    return inspect.getsource(measure) + (Path(str(file)).read_text(encoding="utf-8") if elsewhere else "")


def _place() -> list[str]:
    """What bits depend on besides the code."""
    from torch.backends.cpu import get_cpu_capability

    packages = [f"{name} {metadata.version(name)}" for name in ("torch", "numpy")]
    forced = os.environ.get("ELMAN_INSTRUCTIONS", "")
    return [platform.python_version(), platform.machine(), *packages, get_cpu_capability(), forced]


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
