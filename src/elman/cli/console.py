"""The console that every verb prints to."""

from rich.console import Console as RichConsole


class Console(RichConsole):
    """A rich console without highlighting, on which a closed pipe is an error for the command line to handle.

    rich itself would exit with code 1.

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

    def on_broken_pipe(self) -> None:
        """Raise the error again, which rich is handling."""
        raise BrokenPipeError
