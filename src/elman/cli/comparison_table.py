"""What a comparison shows: its progress on standard error, its table on standard output, and three files."""

import json as json_module
from pathlib import Path

from rich.table import Table
from rich.text import Text

from elman.cli.console import Console
from elman.cli.display import StatusLine
from elman.cli.progress import ProgressDisplay
from elman.comparison.plots import comparison_picture
from elman.comparison.result import Comparison
from elman.comparison.shared import TrainingStep
from elman.environment import environment
from elman.errors import ConfigError
from elman.inference.metrics import METRICS
from elman.models.saving import finite, to_json
from elman.storage.atomic import new_folder, replace_file

PIPE_WIDTH = 200  # columns, where the output is no terminal


class ComparisonDisplay:
    """Shows a comparison while it is made, and writes what is measured into a new folder at once.

    Args:
        folder: the folder to make, of comparison.json, .md and .png.
        quiet: no progress, the result only.
    """

    def __init__(self, folder: Path, *, quiet: bool) -> None:
        self.folder = folder
        self.last: Comparison | None = None
        self.progress = ProgressDisplay(quiet=quiet)
        self.status: dict[tuple[str, int], StatusLine] = {}

    @property
    def complete(self) -> bool:
        """Whether everything was measured."""
        return self.last is not None and self.last.complete

    def training(self, event: TrainingStep) -> None:
        """Show where the training of one model is."""
        status = self.status.setdefault((event.name, event.seed), StatusLine())
        text = f"{event.name}, seed {event.seed}: {status.text(event.progress)}"
        self.progress.update(event.progress.fraction, text)

    def measuring(self, what: str, share: float | None) -> None:
        """Show what is scored, counted or compressed, and how much of it is done."""
        self.progress.update(share, what)

    def measured(self, comparison: Comparison) -> None:
        """Write all that is measured so far, and print what is new."""
        files = {
            "comparison.json": to_json(finite(self._document(comparison))),
            "comparison.md": comparison.markdown().encode(errors="backslashreplace"),
        }
        if self.last is None:
            new_folder(self.folder, files)
        before = {} if self.last is None else {e.name: len(e.measured) for e in self.last.entries}
        self.last = comparison
        for entry in comparison.entries:
            if len(entry.measured) > before.get(entry.name, 0) and entry.is_model:
                spread = entry.spread(comparison.figure)
                figure = "" if spread is None else f"{METRICS[comparison.figure].words} {spread.written('.3f')}"
                self.progress.print(f"{entry.label}: {figure}")
        for name, data in files.items():
            self._write(name, data)

    def close(self) -> None:
        """Remove the bar."""
        self.progress.close()

    def end(self, *, json: bool) -> None:
        """Draw the picture, and print the result as a table or as one JSON document."""
        assert self.last is not None  # noqa: S101 - the first comparison comes before anything takes long
        drawn = self._draw(self.last)
        if json:
            print(json_module.dumps(finite(self._document(self.last)), ensure_ascii=False, allow_nan=False))
            return
        out = Console(pipe_width=PIPE_WIDTH)
        print_table(out, self.last)
        files = "comparison.json, comparison.md" + (", comparison.png" if drawn else "")
        out.print_lines(f"\n{self.folder} ({files})")
        if not drawn:
            self.progress.print('no picture: pip install "elman[plot]" draws it')

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


def print_table(console: Console, comparison: Comparison) -> None:
    """Print a comparison.

    Args:
        console: where to print.
        comparison: what to print: its table, its verdict and its notes.
    """
    head, *rows = comparison.table()
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, justify="left" if name == "model" else "right", overflow="fold")
    for cells in rows:
        table.add_row(*map(Text, cells))
    console.print(table)
    for lines in (comparison.verdict, comparison.notes):
        console.print_lines("", *lines)
