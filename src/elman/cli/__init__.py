"""The command `elman`: parses the arguments, runs a verb, and reports every error as one line and an exit code."""

import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, NoReturn

from elman.errors import ElmanError, one_line, quoted

if TYPE_CHECKING:
    from cyclopts import CycloptsError

LONGEST = 3000
"""Characters of a message at most."""
SPIN = "1000"
"""Turns that a thread of GNU OpenMP waits before it sleeps."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, then exit with its code.

    Args:
        arguments: what follows the name of the program; None takes `sys.argv`.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a letter that a terminal cannot show is no error
    # Threads that wait soon sleep, for two that spin on a busy machine are five times slower than one; read once.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN)
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


class _Hyphen(str):
    """The argument `-`, standard input, which cyclopts takes for an option because it begins with a hyphen.

    Its setting `allow_leading_hyphen` accepts `-`, but with it every misspelt option (`--hiden`) as a value too, and
    so without the question "Did you mean --hidden?".
    """

    __slots__ = ()

    def startswith(self, prefix: str | tuple[str, ...], *bounds: Any) -> bool:
        """False for a hyphen, by which cyclopts recognises options; else as usual."""
        return prefix != "-" and super().startswith(prefix, *bounds)


def run(arguments: list[str]) -> int:
    """Run the command line.

    Args:
        arguments: what follows the name of the program; `--debug`, anywhere, shows tracebacks.

    Returns:
        The exit code.
    """
    debug = "--debug" in arguments or bool(os.environ.get("ELMAN_DEBUG"))
    from cyclopts import CycloptsError

    from elman.cli.app import app

    try:
        with _messages_shown():
            result = app(
                [_Hyphen(a) if a == "-" else a for a in arguments if a != "--debug"],
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
            )
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()  # the reader has closed the pipe, as `head` does
        return 0
    except KeyboardInterrupt as error:
        return _report("interrupted", 128 + (error.args[0] if error.args else signal.SIGINT))
    except CycloptsError as error:
        return _report(_of_arguments(error), 2)
    except ElmanError as error:
        if debug:
            raise
        return _report(str(error), error.exit_code)
    except MemoryError as error:
        if debug:
            raise
        return _report(f"out of memory ({error}): lower --hidden, --batch or --window", 1)
    except OSError as error:
        if debug:
            raise
        _discard_output()
        what = quoted(error.filename) if error.filename else "input or output"
        return _report(f"{what} failed: {error.strerror or error}; check the disk and the permissions", 74)
    except Exception as error:
        if debug:
            raise
        if "can't allocate memory" in str(error) or "out of memory" in str(error):
            return _report(f"out of memory ({_first_line(error)}): lower --hidden, --batch or --window", 1)
        return _report(f"unexpected {type(error).__name__}: {_first_line(error)}; show the traceback with --debug", 1)
    return result if isinstance(result, int) else 0


@contextmanager
def _messages_shown() -> Iterator[None]:
    """Show on standard error what the package logs in the block: what it waits for."""
    logger, shown = logging.getLogger("elman"), logging.Handler()
    shown.emit = lambda record: print(f"elman: {one_line(record.getMessage())}", file=sys.stderr)  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(shown)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(shown)
        logger.setLevel(level)


def _discard_output() -> None:
    """Send standard output nowhere: flushing what it still holds would fail a second time."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - a stream without a file


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300]


def _report(message: str, code: int) -> int:
    line = one_line(" ".join(message.splitlines()))
    if len(line) > LONGEST:  # the cause is at the end, behind a name that is too long
        line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"
    print(f"elman: {line}", file=sys.stderr)
    return code


def _of_arguments(error: "CycloptsError") -> str:
    """What is wrong with the arguments: a number that is none, a setting without a flag, or as cyclopts says it."""
    from cyclopts import CoercionError, UnknownOptionError, UnusedCliTokensError

    from elman.config import plain_types

    said = str(error).strip()
    if isinstance(error, CoercionError) and error.token is not None:
        if not error.token.value:
            return f"{error.token.keyword or 'an argument'} is empty: give a name or a value, or leave it out"
        kinds = {int: "a whole number", float: "a number"}
        if wanted := [kinds[kind] for kind in plain_types(error.target_type) if kind in kinds]:
            return f"{error.token.keyword} is {error.token.value!r}: give {wanted[0]}"
    if isinstance(error, UnknownOptionError):
        from elman.training.config import Config

        name = error.token.value.partition("=")[0].removeprefix("--").replace("-", "_")
        if name in Config.__dataclass_fields__:
            return (
                f"--{name.replace('_', '-')} is no option of this command: a TOML file (--config) sets {name} for train"
            )
    return said + (" (put a text with spaces in quotes)" if isinstance(error, UnusedCliTokensError) else "")
