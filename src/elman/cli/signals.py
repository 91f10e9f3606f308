"""Stopping by signals: the first ends a run after the current step, saved; the second ends it at once."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

STOP_SIGNALS = [s for name in ("SIGINT", "SIGTERM", "SIGHUP") if (s := getattr(signal, name, None)) is not None]

ASKED = "stopping after this step and saving; press Ctrl-C again to stop immediately without saving"


class Stopped(KeyboardInterrupt):
    """The first signal, where it ends at once what it interrupts."""


class Stop:
    """A context in which SIGINT, SIGTERM and SIGHUP set a flag; a second raises `KeyboardInterrupt` with its number.

    Args:
        immediate: whether the first raises it too, as long as there is nothing to save.
    """

    def __init__(self, *, immediate: bool = False) -> None:
        self.immediate = immediate
        self.signal = 0
        self._raises = False
        self._before: dict[int, Any] = {}

    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self.signal != 0

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it the first signal raises `Stopped`, also one that came before: nothing there is half done."""
        self._raises = True
        try:
            if self.signal:
                raise Stopped(self.signal)
            yield
        finally:
            self._raises = False

    def between(self, events: Iterator[T]) -> Iterator[T]:
        """Pass events on; the first signal raises `Stopped` where the next one is made, which may conclude itself."""
        while True:
            with nullcontext() if self.signal else self.at_once():
                event = next(events, None)
            if event is None:
                return
            yield event

    def __enter__(self) -> Self:
        for number in STOP_SIGNALS:
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.signal or self.immediate:
            raise KeyboardInterrupt(number)
        self.signal = number
        raises = self._raises
        said = "stopping; what was measured until now is kept" if raises else ASKED
        with suppress(OSError):  # a terminal that was closed sends SIGHUP and cannot be written to
            sys.stderr.write(f"\nelman: {said}\n")
        if raises:
            raise Stopped(number)
