"""The progress of a command, on standard error: a bar on a terminal, else a line now and then, nothing when quiet."""

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from elman.cli.console import Console

LINE_SECONDS = 10.0
"""Seconds without a line until the next one, where a bar cannot be redrawn."""
REDRAW_SECONDS = 0.2
BAR_WIDTH = 12


class ProgressDisplay(AbstractContextManager["ProgressDisplay"]):
    """How far a command is. As a context manager it removes the bar at its end.

    Args:
        quiet: show nothing.
        time_left: show the remaining time after the status.
    """

    def __init__(self, *, quiet: bool = False, time_left: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        columns = (BarColumn(bar_width=BAR_WIDTH), TextColumn("{task.description}", markup=False))
        more = (TimeRemainingColumn(),) if time_left else ()
        self._bar = Progress(*columns, *more, console=self.console, transient=True, refresh_per_second=4)
        self._task = self._bar.add_task("", total=None)
        self._drawn = float("-inf")
        self._printed = time.monotonic()

    def update(self, fraction: float | None, status: str, line: str | None = None) -> None:
        """Redraw the bar, or print a line where one is due.

        Args:
            fraction: the share that is done, from 0 to 1; None where it is not known.
            status: the text after the bar.
            line: the text to print instead where there is no terminal; None is the status.
        """
        now = time.monotonic()
        if self.console.is_terminal and not self.console.quiet:
            self._bar.start()
            if now - self._drawn > REDRAW_SECONDS or fraction == 1:
                self._drawn = now
                total = None if fraction is None else 1.0
                self._bar.update(self._task, completed=fraction or 0.0, total=total, description=status)
        elif now - self._printed > LINE_SECONDS:
            self.print(status if line is None else line)

    def print(self, *lines: str | Text) -> None:
        """Print lines that stay, above the bar where there is one; text with a style keeps it."""
        self._printed = time.monotonic()
        for line in lines:
            if isinstance(line, Text):
                self.console.print(line)
            else:
                self.console.print_lines(line)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar.live.is_started:  # otherwise it would end a line that was never begun
            self._bar.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
