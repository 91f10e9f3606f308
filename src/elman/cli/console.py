"""The console that every verb prints to."""

from collections.abc import Iterable

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from elman.errors import one_line


class Console(RichConsole):
    """A rich console without highlighting, which escapes control characters in names and texts.

    A closed pipe is an error for the command line to handle: rich itself would exit with code 1.

    Args:
        stderr: print to standard error rather than standard output.
        quiet: print nothing.
        min_width: columns to use at least; figures must not be cut, whatever the terminal.
        pipe_width: columns to use where the output is no terminal.
    """

    def __init__(
        self, *, stderr: bool = False, quiet: bool = False, min_width: int = 0, pipe_width: int | None = None
    ) -> None:
        super().__init__(stderr=stderr, quiet=quiet, highlight=False)
        if pipe_width is not None and not self.is_terminal:
            self.width = pipe_width
        self.width = max(self.width, min_width)

    def print_lines(self, *lines: str) -> None:
        """Print lines of text as they are: no markup, no wrapping."""
        self.print(*lines, sep="\n", markup=False, soft_wrap=True)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What to write, with escapes for control characters: a name cannot change what a terminal shows."""
        for segment in super().render(renderable, options):
            text = segment.text
            if segment.control or (text.isascii() and text.replace("\n", "").isprintable()):
                yield segment
            else:
                lines = [one_line(line) for line in text.split("\n")]
                yield Segment("\n".join(lines), segment.style)

    def on_broken_pipe(self) -> None:
        """Raise the error again, which rich is handling."""
        raise BrokenPipeError
