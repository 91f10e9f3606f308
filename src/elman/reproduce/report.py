"""The files of a report: written anew whenever an experiment is finished."""

from pathlib import Path
from typing import Any

from elman.environment import environment
from elman.errors import ConfigError
from elman.models.saving import to_json
from elman.reproduce.charts import drawn
from elman.reproduce.experiment import Experiment, Result
from elman.reproduce.page import Entry, document, html, markdown, picture_file
from elman.storage.atomic import make_folder, replace_file, translate_os_errors

FILES = ("report.html", "report.md", "reproduce.json")


class Report:
    """What is finished so far, as a page, as Markdown and as JSON, with a file for each picture.

    Args:
        folder: where the files are; made if need be.
        command: what was typed.
        quick: whether the figures are of no interest.
    """

    def __init__(self, folder: Path, *, command: str, quick: bool) -> None:
        self.folder, self.command, self.quick = folder, command, quick
        self.entries: list[Entry] = []
        self.pictures: dict[str, bytes] = {}
        """PNG by file name; none where matplotlib is missing."""

    def add(self, experiment: Experiment, result: Result, cpu_seconds: float) -> dict[str, Any]:
        """Write the report with one experiment more; that experiment as JSON values.

        Raises:
            StorageError: the disk refuses.
        """
        self.entries.append((experiment, result, cpu_seconds))
        with translate_os_errors("make", self.folder):
            make_folder(self.folder)
        for name, data in _pictures(experiment, result).items():
            self.pictures[name] = data
            replace_file(self.folder / name, data)
        found = self.document()
        replace_file(self.folder / "report.html", html(found, self.pictures).encode())
        replace_file(self.folder / "report.md", markdown(found, self.pictures).encode())
        replace_file(self.folder / "reproduce.json", to_json(found))
        last: dict[str, Any] = found["experiments"][-1]
        return last

    def document(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return document(self.entries, command=self.command, quick=self.quick, environment=environment())


def _pictures(experiment: Experiment, result: Result) -> dict[str, bytes]:
    """The charts as files, none where matplotlib is missing."""
    try:
        return {picture_file(experiment.name, chart.name): drawn(chart) for chart in result.charts}
    except ConfigError:
        return {}
