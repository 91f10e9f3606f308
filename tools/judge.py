"""Judge the trials of a report again, without measuring: `python tools/judge.py FOLDER`.

For a change of tolerances, explanations or pages after `elman reproduce ... --report FOLDER`: the verdicts are made
anew of the trials in FOLDER, and its report is written again with the digest of the code that measured them. A trial
that is missing, or whose function was changed, is an error: then `elman reproduce` has to measure.
"""

import json
import sys
from pathlib import Path

from elman.reproduce import select
from elman.reproduce.report import Report
from elman.reproduce.trials import TrialCache


def judge(folder: Path) -> None:
    """Write the report of a folder again.

    Args:
        folder: that of the report.
    """
    before = json.loads((folder / "reproduce.json").read_text(encoding="utf-8"))
    report = Report(folder, command=before["command"], quick=before["quick"], code=before["code_sha256"])
    with TrialCache(folder, quick=before["quick"]) as runner:
        runner.code = report.code
        for experiment in select([each["name"] for each in before["experiments"]]):
            runner.cpu_seconds = 0.0
            report.add(experiment, experiment.run(runner), runner.cpu_seconds)


if __name__ == "__main__":
    judge(Path(sys.argv[1]))
