"""The files of a report: written anew whenever an experiment is finished."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elman.disk import replace_file
from elman.environment import environment
from elman.errors import ConfigError
from elman.reproduce.drawing import drawn
from elman.reproduce.page import Entry, document, html, markdown, picture_file
from elman.saving import to_json

FILES = ("report.html", "report.md", "reproduce.json")


def write(folder: Path, entries: Sequence[Entry], *, command: str, quick: bool) -> tuple[dict[str, Any], int]:
    """Write the report of what is finished; its JSON values, and how many pictures there are.

    Raises:
        StorageError: the disk refuses.
    """
    found = document(entries, command=command, quick=quick, environment=environment())
    pictures = _pictures(entries)
    for name, data in pictures.items():
        replace_file(folder / name, data)
    replace_file(folder / "report.html", html(found, pictures).encode())
    replace_file(folder / "report.md", markdown(found, pictures).encode())
    replace_file(folder / "reproduce.json", to_json(found))
    return found, len(pictures)


def _pictures(entries: Sequence[Entry]) -> dict[str, bytes]:
    """The charts as files, none where matplotlib is missing."""
    charts = {picture_file(e.name, chart.name): chart for e, result, _ in entries for chart in result.charts}
    try:
        return {name: drawn(chart) for name, chart in charts.items()}
    except ConfigError:
        return {}
