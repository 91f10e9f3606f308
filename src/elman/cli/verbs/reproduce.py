"""`elman reproduce`: published results, measured again."""

import json as json_module
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from elman.errors import ElmanError

if TYPE_CHECKING:
    from rich.console import Console

    from elman.reproduce.experiment import Experiment

EXAMPLES = """Examples:
  elman reproduce                   # the experiments, and how long they take
  elman reproduce lecture
  elman reproduce all --report runs/reproduce
  elman reproduce all --quick       # a minute: does everything run?
The same command continues where it was interrupted: every finished training
is kept in the folder of the report."""

FOLDER = Path("runs/reproduce")
QUICK_FOLDER = Path("runs/reproduce-quick")
WIDEST = 160  # columns, where the output is no terminal


def command(
    *names: Annotated[str, Parameter(help="Experiments, or all; without a name they are listed.")],
    quick: Annotated[
        bool, Parameter(negative="", show_default=False, help="A few steps of small networks, to see that it runs.")
    ] = False,
    report: Annotated[
        Path | None,
        Parameter(help=f"Folder of report.html, .md, reproduce.json, pictures and trials [default: {FOLDER}]."),
    ] = None,
    fresh: Annotated[
        bool, Parameter(negative="", show_default=False, help="Measure again what the folder already holds.")
    ] = False,
    json: Annotated[bool, Parameter(negative="", show_default=False, help="Print one JSON document.")] = False,
    quiet: Annotated[
        bool, Parameter(name=["--quiet", "-q"], negative="", show_default=False, help="No progress.")
    ] = False,
) -> int:
    """Measure published results again, and show where they agree with the publication and where not."""
    from elman.reproduce import ALL, select

    if not names:
        _list(select([ALL]), json=json)
        return 0
    experiments = select(names)
    folder = report or (QUICK_FOLDER if quick else FOLDER)
    typed = " ".join(
        [
            "elman reproduce",
            *dict.fromkeys(names),
            *(["--quick"] * quick),
            *(["--report", str(report)] if report else []),
        ]
    )
    return _run(experiments, folder, typed, quick=quick, fresh=fresh, json=json, quiet=quiet)


def _list(experiments: "Sequence[Experiment]", *, json: bool) -> None:
    """Print the experiments that can be run."""
    if json:
        facts = [{"name": e.name, "title": e.title, "source": e.source, "minutes": e.minutes} for e in experiments]
        print(json_module.dumps({"experiments": facts}, ensure_ascii=False))
        return
    width = max(len(e.name) for e in experiments)
    for e in experiments:
        print(f"{e.name:<{width}}  {e.title}\n{'':<{width}}  {e.source}; {e.minutes:g} CPU minutes")
    minutes = sum(e.minutes for e in experiments)
    print(f"\nelman reproduce NAME..., or all: {minutes:g} CPU minutes, half of it by the clock on two cores")


def _run(
    experiments: "Sequence[Experiment]", folder: Path, typed: str, *, quick: bool, fresh: bool, json: bool, quiet: bool
) -> int:
    """Measure one experiment after the other; an error is printed and the next one goes on."""
    import torch

    from elman.cli.console import Stream
    from elman.reproduce.report import FILES, Report
    from elman.reproduce.trials import TrialCache

    torch.set_num_threads(1)  # as in the processes of parallel trials, so that figures are the same
    console, out = Stream(stderr=True, quiet=quiet, highlight=False), Stream(highlight=False)
    if not out.is_terminal:
        out.width = WIDEST
    report, code = Report(folder, command=typed, quick=quick), 0

    def progress(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    with TrialCache(folder, quick=quick, fresh=fresh, on_progress=progress) as runner:
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
        out.print(f"{folder} ({', '.join(FILES)})", markup=False, soft_wrap=True)
    if report.finished and not report.pictures:
        progress('no pictures: pip install "elman[plot]", and the same command draws them')
    return code


def _print(out: "Console", found: "Mapping[str, Any]") -> None:
    """Print one experiment: its rows and its lessons."""
    from rich.table import Table
    from rich.text import Text

    from elman.reproduce.page import HEADINGS, cells

    grid = Table(box=None, pad_edge=False)
    for name in HEADINGS:
        grid.add_column(name, justify="right" if name in {"published", "measured"} else "left", overflow="fold")
    for row in found["figures"]:
        grid.add_row(*map(Text, cells(row)))
    out.print(f"{found['name']}: {found['title']}", style="bold", markup=False, soft_wrap=True)
    out.print(f"{found['source']}; {found['cpu_seconds'] / 60:.1f} CPU minutes\n", markup=False, soft_wrap=True)
    out.print(grid)
    out.print(*("", *found["lessons"], ""), sep="\n", markup=False, soft_wrap=True)
