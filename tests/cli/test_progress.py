"""How far a command is: a bar on a terminal, a line now and then elsewhere, nothing when quiet."""

import io
import sys

import pytest
from rich.text import Text

from elman.cli import progress
from elman.cli.progress import ProgressDisplay


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, **settings: bool) -> str:
    """What a display of five updates and two lines writes."""
    for name in ("FORCE_COLOR", "CI", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", stream)
    with ProgressDisplay(**settings) as display:
        display.update(None, "starting [0]")
        for i in range(1, 4):
            display.update(i / 4, f"step {i}", line=f"{i} of 4")
        display.print("a line [that] stays", Text("bold", "bold"))
        display.update(1.0, "step 4", line="4 of 4")
    return stream.getvalue()


def test_lines_where_there_is_no_terminal_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.StringIO()) == "a line [that] stays\nbold\n"
    monkeypatch.setattr(progress, "LINE_SECONDS", -1.0)
    every = ["starting [0]", "1 of 4", "2 of 4", "3 of 4", "a line [that] stays", "bold", "4 of 4"]
    assert shown(monkeypatch, io.StringIO()).splitlines() == every


@pytest.mark.parametrize("time_left", [False, True])
def test_a_bar_on_a_terminal_that_is_removed_at_the_end(time_left: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    out = shown(monkeypatch, Terminal(), time_left=time_left)
    assert "step 4" in out
    assert "4 of 4" not in out
    assert "a line [that] stays" in out
    assert out.rstrip().endswith("\x1b[2K"), "the line of the bar is cleared"
    assert (":" in out) == time_left


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_nothing_when_quiet(stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", -1.0)
    assert shown(monkeypatch, stream(), quiet=True) == ""
