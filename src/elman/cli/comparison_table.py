"""Output of a comparison: progress on standard error, the table on standard output, three files in a folder."""

import json as json_module
import os
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from elman.cli.console import Stream
from elman.cli.display import PLAIN_SECONDS, Line
from elman.comparison.plots import comparison_picture
from elman.comparison.result import Comparison
from elman.comparison.trained import TrainingStep
from elman.environment import environment
from elman.errors import ConfigError
from elman.inference.metrics import METRICS
from elman.models.saving import finite, to_json
from elman.storage.atomic import replace_file, translate_os_errors

WIDEST = 200  # columns, where the output is no terminal


class ComparisonDisplay:
    """Writes a comparison into a new folder whenever something was measured, and prints its progress.

    Args:
        folder: to make.
        quiet: no progress.

    Raises:
        ConfigError: the folder exists.
    """

    def __init__(self, folder: Path, *, quiet: bool) -> None:
        with translate_os_errors("make", folder):
            if os.path.lexists(folder):
                raise ConfigError(f"{str(folder)!r} exists already: choose another --out")
        self.folder = folder
        self.last: Comparison | None = None
        self.printed_at = time.monotonic()
        self.console = Stream(stderr=True, quiet=quiet, highlight=False)
        self.words: dict[tuple[str, int], Line] = {}
        columns = (BarColumn(bar_width=12), TextColumn("{task.description}", markup=False))
        self.bar = Bar(*columns, console=self.console, transient=True, refresh_per_second=4)
        self.task = self.bar.add_task("", total=1.0)

    @property
    def complete(self) -> bool:
        """Whether everything was measured."""
        return self.last is not None and self.last.complete

    def learning(self, event: TrainingStep) -> None:
        """Where a training is: a bar on a terminal, else a line now and then."""
        line = self.words.setdefault((event.name, event.seed), Line())
        if self.console.is_terminal:
            self.bar.start()
            words = f"{event.name}, seed {event.seed}: {line.words(event.progress)}"
            self.bar.update(self.task, completed=event.progress.fraction, description=words)
        elif time.monotonic() - self.printed_at > PLAIN_SECONDS:
            self._print(f"{event.name}, seed {event.seed}: {line.words(event.progress)}")

    def measured(self, comparison: Comparison) -> None:
        """Write the comparison so far, and print what is new in it."""
        if self.last is None:
            with translate_os_errors("make", self.folder):
                self.folder.mkdir(parents=True)
        before = {} if self.last is None else {e.name: len(e.measured) for e in self.last.entries}
        self.last = comparison
        for entry in comparison.entries:
            if len(entry.measured) > before.get(entry.name, 0) and entry.is_model:
                spread = entry.spread(comparison.figure)
                figure = "" if spread is None else f"{METRICS[comparison.figure].words} {spread.written('.3f')}"
                self._print(f"{entry.label}: {figure}")
        self._write("comparison.json", to_json(finite(self._document(comparison))))
        self._write("comparison.md", comparison.markdown().encode())

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.bar.live.is_started:  # otherwise it would end a line that was never begun
            self.bar.stop()

    def end(self, *, json: bool) -> None:
        """Draw the picture and print the result."""
        assert self.last is not None  # noqa: S101 - the first comparison comes before anything takes long
        drawn = self._draw(self.last)
        if json:
            print(json_module.dumps(finite(self._document(self.last)), ensure_ascii=False, allow_nan=False))
            return
        out = Stream(highlight=False)
        if not out.is_terminal:
            out.width = WIDEST
        print_table(out, self.last)
        files = "comparison.json, comparison.md" + (", comparison.png" if drawn else "")
        out.print(f"\n{self.folder} ({files})", markup=False, soft_wrap=True)
        if not drawn:
            self._print('no picture: pip install "elman[plot]" draws it')

    def _document(self, comparison: Comparison) -> dict[str, object]:
        return comparison.to_dict() | {"folder": str(self.folder), "environment": environment()}

    def _write(self, name: str, data: bytes) -> None:
        replace_file(self.folder / name, data)

    def _draw(self, comparison: Comparison) -> bool:
        """The picture, where matplotlib is there to draw it."""
        try:
            self._write("comparison.png", comparison_picture(finite(comparison.to_dict())))
        except ConfigError:
            return False
        return True

    def _print(self, text: str) -> None:
        self.printed_at = time.monotonic()
        self.console.print(text, markup=False, soft_wrap=True)


def print_table(console: Console, comparison: Comparison) -> None:
    """Print the table, the verdict and the notes.

    Args:
        console: where to print.
        comparison: what was measured.
    """
    head, *rows = comparison.table()
    grid = Table(box=None, pad_edge=False)
    for name in head:
        grid.add_column(name, justify="left" if name == "model" else "right", overflow="fold")
    for cells in rows:
        grid.add_row(*map(Text, cells))
    console.print(grid)
    for lines in (comparison.verdict, comparison.notes):
        console.print(*("", *lines), sep="\n", markup=False, soft_wrap=True)
