"""`elman reproduce`: measures published results again."""

import json as json_module
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from elman.cli.options import Json, Quiet, Switch
from elman.errors import ElmanError

if TYPE_CHECKING:
    from elman.cli.console import Console
    from elman.reproduce.experiment import Experiment

ORDER = 7
EXAMPLES = """Examples:
  elman reproduce                   # list the experiments, and how long they take
  elman reproduce lecture
  elman reproduce all --report runs/reproduce
  elman reproduce all --quick       # a minute: check that everything runs
After an interruption the same command continues: each finished training is kept
in the folder of the report. After a change of elman's code all are measured anew."""

FOLDER = Path("runs/reproduce")
QUICK_FOLDER = Path("runs/reproduce-quick")
PIPE_WIDTH = 160  # columns, where the output is no terminal


def command(
    *names: Annotated[str, Parameter(help="Experiments, or all; none: list them.")],
    quick: Annotated[Switch, Parameter(help="A few steps of small networks, to check that everything runs.")] = False,
    report: Annotated[
        Path | None,
        Parameter(help=f"Folder of report.html, .md, reproduce.json, pictures and trials [default: {FOLDER}]."),
    ] = None,
    fresh: Annotated[Switch, Parameter(help="Measure again what the folder already holds.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Measure published results again, beside the published figures, and explain what differs."""
    from elman.reproduce import ALL, select

    if not names:
        _list(select([ALL]), json=json)
        return 0
    experiments = select(names)
    folder = report or (QUICK_FOLDER if quick else FOLDER)
    call = " ".join(
        [
            "elman reproduce",
            *dict.fromkeys(names),
            *(["--quick"] * quick),
            *(["--report", str(report)] if report else []),
        ]
    )
    return _run(experiments, folder, call, quick=quick, fresh=fresh, json=json, quiet=quiet)


def _list(experiments: "Sequence[Experiment]", *, json: bool) -> None:
    """Print the experiments."""
    if json:
        facts = [{"name": e.name, "title": e.title, "source": e.source, "minutes": e.minutes} for e in experiments]
        print(json_module.dumps({"experiments": facts}, ensure_ascii=False))
        return
    width = max(len(e.name) for e in experiments)
    for e in experiments:
        print(f"{e.name:<{width}}  {e.title}\n{'':<{width}}  {e.source}; {e.minutes:g} CPU minutes")
    minutes = sum(e.minutes for e in experiments)
    print(f"\nelman reproduce NAME..., or all: {minutes:g} CPU minutes, half as long by the clock on two cores")


def _run(
    experiments: "Sequence[Experiment]", folder: Path, call: str, *, quick: bool, fresh: bool, json: bool, quiet: bool
) -> int:
    """Measure one experiment after the other; one that fails is reported, and the next follows."""
    import torch

    from elman.cli.console import Console
    from elman.cli.progress import ProgressDisplay
    from elman.reproduce.report import FILES, Report
    from elman.reproduce.trials import TrialCache
    from elman.storage.atomic import no_empty_folders

    torch.set_num_threads(1)  # as in the processes of parallel trials, so that figures do not depend on their number
    progress, out = ProgressDisplay(quiet=quiet), Console(pipe_width=PIPE_WIDTH)
    code = 0
    with (
        no_empty_folders(folder / "trials"),
        TrialCache(folder, quick=quick, fresh=fresh, on_progress=progress.print) as runner,
    ):
        report = Report(folder, command=call, quick=quick, code=runner.code)
        for experiment in experiments:
            runner.cpu_seconds = 0.0
            try:
                result = experiment.run(runner)
            except ElmanError as error:
                code = code or error.exit_code
                print(f"elman: {experiment.name}: {error}", file=sys.stderr)
                continue
            found = report.add(experiment, result, runner.cpu_seconds)
            if not json:
                _print(out, found)
    if json:
        print(json_module.dumps(report.document(), ensure_ascii=False, allow_nan=False))
    elif report.finished:
        _print_verdicts(out, report.document())
        out.print_lines(f"{folder} ({', '.join(FILES)})")
    if report.finished and not report.pictures:
        progress.print('no pictures: pip install "elman[plot]", and the same command draws them')
    return code


def _print(out: "Console", found: "Mapping[str, Any]") -> None:
    """Print the figures of one experiment, and their explanation."""
    from rich.console import JustifyMethod
    from rich.table import Table
    from rich.text import Text

    from elman.reproduce.page import HEADINGS, cells

    table = Table(box=None, pad_edge=False)
    for name in HEADINGS:
        justify: JustifyMethod = "right" if name in {"reference", "measured", "runs"} else "left"
        table.add_column(name, justify=justify, overflow="fold")
    for row in found["figures"]:
        table.add_row(*map(Text, cells(row)))
    out.print(f"{found['name']}: {found['title']}", style="bold", markup=False, soft_wrap=True)
    out.print_lines(f"{found['source']}; {found['cpu_seconds'] / 60:.1f} CPU minutes\n")
    out.print(table)
    out.print_lines("", *found["lessons"], "")


def _print_verdicts(out: "Console", found: "Mapping[str, Any]") -> None:
    """Print how many figures have each verdict, and the rule."""
    from rich.table import Table

    from elman.reproduce.page import RULE, verdict_table

    head, *rows = verdict_table(found)
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, justify="left" if name == "kind" else "right")
    for row in rows:
        table.add_row(*row)
    out.print(table)
    out.print_lines("", RULE, "")
