"""The command `elman`: parse, call, and turn every error into one line and an exit code."""

import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NoReturn

from elman.errors import ElmanError


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter stops nothing
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


class _Dash(str):
    """A lone `-`, which means a standard stream: the parser must not take it for an option."""

    __slots__ = ()

    def startswith(self, *_: object) -> bool:
        """Never, whatever is asked: this is how the parser recognises options."""
        return False


def run(arguments: list[str]) -> int:
    """Run the command line; its exit code."""
    debug = "--debug" in arguments or bool(os.environ.get("ELMAN_DEBUG"))
    from cyclopts import CycloptsError, UnusedCliTokensError

    from elman.cli.app import app

    try:
        result = app(
            [_Dash(a) if a == "-" else a for a in arguments if a != "--debug"],
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_output()  # whoever read it has gone, as `head` does
        return 0
    except KeyboardInterrupt as error:
        return _say("interrupted", 128 + (error.args[0] if error.args else signal.SIGINT))
    except CycloptsError as error:
        quotes = " (put a text with spaces in quotes)" if isinstance(error, UnusedCliTokensError) else ""
        return _say(str(error).strip() + quotes, 2)
    except ElmanError as error:
        if debug:
            raise
        return _say(str(error), error.exit_code)
    except MemoryError as error:
        if debug:
            raise
        return _say(f"out of memory ({error}): lower --hidden, --batch or --window", 1)
    except OSError as error:
        if debug:
            raise
        _abandon_output()
        what = repr(error.filename) if error.filename else "input or output"
        return _say(f"{what} failed: {error.strerror or error}; check the disk and the permissions", 74)
    except Exception as error:
        if debug:
            raise
        if "can't allocate memory" in str(error) or "out of memory" in str(error):
            return _say(f"out of memory ({_first_line(error)}): lower --hidden, --batch or --window", 1)
        return _say(f"unexpected {type(error).__name__}: {_first_line(error)}; see it whole with --debug", 1)
    return result if isinstance(result, int) else 0


def _abandon_output() -> None:
    """Write no more: closing the stream would complain a second time of what it still holds."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - a stream without a file


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300]


def _say(message: str, code: int) -> int:
    line = " ".join(message.split("\n"))
    print(f"elman: {line}", file=sys.stderr)
    return code
