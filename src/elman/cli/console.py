"""A place to print to."""

from rich.console import Console


class Stream(Console):
    """A console that leaves it to the command line what happens when its reader goes; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        """Called while the error is handled."""
        raise BrokenPipeError
