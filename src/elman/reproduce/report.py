"""The files of a report, which are written again whenever an experiment is finished."""

from pathlib import Path
from typing import Any

from elman.environment import environment
from elman.errors import ConfigError
from elman.models.saving import to_json
from elman.reproduce.charts import draw_chart
from elman.reproduce.experiment import Experiment, Result
from elman.reproduce.page import FinishedExperiment, document, html, markdown, picture_file
from elman.storage.atomic import make_folder, replace_file, translate_os_errors

FILES = ("report.html", "report.md", "reproduce.json")


class Report:
    """The experiments that are finished so far as HTML, Markdown and JSON, with a file for each picture.

    Args:
        folder: where the files are; it is made if it does not exist.
        command: the command line that was typed.
        quick: whether it is a quick run, whose figures mean nothing.
        code: the digest of the code that measures, see `elman.reproduce.trials.code_digest`.
    """

    def __init__(self, folder: Path, *, command: str, quick: bool, code: str) -> None:
        self.folder, self.command, self.quick, self.code = folder, command, quick, code
        self.finished: list[FinishedExperiment] = []
        self.pictures: dict[str, bytes] = {}
        """PNG by file name; empty without matplotlib."""

    def add(self, experiment: Experiment, result: Result, cpu_seconds: float) -> dict[str, Any]:
        """Write the report with one more experiment.

        Args:
            experiment: the experiment that is finished.
            result: what it found.
            cpu_seconds: what its trials cost.

        Returns:
            That experiment as JSON values.

        Raises:
            StorageError: a file cannot be written.
        """
        self.finished.append(FinishedExperiment(experiment, result, cpu_seconds))
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
        """The report as JSON values."""
        return document(
            self.finished, command=self.command, quick=self.quick, environment=environment(), code=self.code
        )


def _pictures(experiment: Experiment, result: Result) -> dict[str, bytes]:
    """The charts as PNG by file name; empty without matplotlib."""
    try:
        return {picture_file(experiment.name, chart.name): draw_chart(chart) for chart in result.charts}
    except ConfigError:
        return {}
