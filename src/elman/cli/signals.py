"""Stopping by signals: the first ends a run after the current step, saved; the second ends it at once."""

import signal
import sys
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

STOP_SIGNALS = [s for name in ("SIGINT", "SIGTERM", "SIGHUP") if (s := getattr(signal, name, None)) is not None]


class Stop:
    """A context in which SIGINT, SIGTERM and SIGHUP set a flag; a second raises `KeyboardInterrupt` with its number.

    Args:
        at_once: whether the first raises it too, as long as there is nothing to save.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self.at_once = at_once
        self.signal = 0
        self._before: dict[int, Any] = {}

    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self.signal != 0

    def __enter__(self) -> Self:
        for number in STOP_SIGNALS:
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.signal or self.at_once:
            raise KeyboardInterrupt(number)
        self.signal = number
        with suppress(OSError):  # a terminal that was closed sends SIGHUP and cannot be written to
            sys.stderr.write(
                "\nelman: stopping after this step and saving; press Ctrl-C again to stop immediately without saving\n"
            )
